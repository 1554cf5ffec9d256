package hub

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// statusCode is what a result says instead of an error: 0 for success, or "SIG"
// and a number.
type statusCode uint32

// The codes. NHS Credential Management is known to have noCertificate and
// notProcessed, which stand for what it uses them for; the others are this
// hub's own, from a range of their own.
const (
	statusOK            statusCode = 0
	statusNotProcessed  statusCode = 0x53494703
	statusNoCertificate statusCode = 0x53494705
	statusInternal      statusCode = 0x534947F0
	statusCancelled     statusCode = 0x534947F1
	statusPINIncorrect  statusCode = 0x534947F2
	statusPINBlocked    statusCode = 0x534947F3
	statusBusy          statusCode = 0x534947F4
	statusUnsupported   statusCode = 0x534947F5
)

// name is what stands after a code in messages.
func (s statusCode) name() string {
	switch s {
	case statusNotProcessed:
		return "The inbound request could not be processed"
	case statusNoCertificate:
		return "No X.509 Signing certificate found"
	case statusCancelled:
		return "The user did not agree"
	case statusPINIncorrect:
		return "The PIN was wrong"
	case statusPINBlocked:
		return "The PIN is blocked"
	case statusBusy:
		return "The hub is busy"
	case statusUnsupported:
		return "The algorithm is not supported"
	default:
		return "An Internal error occurred"
	}
}

func statusCodeOf(code Code) statusCode {
	switch code {
	case CodeRequestInvalid, CodeOriginNotAllowed:
		return statusNotProcessed
	case CodeNoCard, CodeNoCertificate:
		return statusNoCertificate
	case CodeUserCancelled:
		return statusCancelled
	case CodePINIncorrect:
		return statusPINIncorrect
	case CodePINBlocked:
		return statusPINBlocked
	case CodeBusy:
		return statusBusy
	case CodeUnsupportedAlgorithm:
		return statusUnsupported
	default:
		return statusInternal
	}
}

// result is what requestToSign returns.
type result struct {
	Certificate  string            `json:"certificate"` // base64 DER
	Signatures   []signatureAnswer `json:"signatures"`  // null when there are none
	Failed       []signatureAnswer `json:"failed_signatures"`
	StatusCode   statusCode        `json:"status_code"`
	StatusString string            `json:"status_string"`
	Message      string            `json:"message"`
	Timestamp    string            `json:"timestamp"`
}

// timestampFormat is that of NHS Credential Management: UTC with seven digits.
const timestampFormat = "2006-01-02T15:04:05.0000000Z"

// requestToSign is the method of the hub that signs. Its argument is a client's
// JWT, or base64 of JSON that nobody has signed.
func (h *Hub) requestToSign(ctx context.Context, origin, argument string) result {
	res := result{StatusString: "ERROR"}
	req, err := h.readArgument(ctx, origin, argument)
	var o *outcome
	if err == nil {
		o, err = h.sign(ctx, origin, req, "")
	}
	if err != nil {
		e := h.fault(err)
		h.logFault(ctx, methodName, origin, e)
		res.StatusCode = statusCodeOf(e.Code)
		res.Message = fmt.Sprintf("%s Error Code: (0x%08X) %s", e.Error(), uint32(res.StatusCode), res.StatusCode.name())
	} else {
		res.StatusString = "OK"
		res.Certificate = base64.StdEncoding.EncodeToString(o.certificate.Leaf.Raw)
		res.Signatures = o.signatures()
		res.Failed = []signatureAnswer{}
		for _, id := range o.failedIDs() {
			res.Failed = append(res.Failed, signatureAnswer{ID: id})
		}
		if o.fault != nil {
			res.Message = fmt.Sprintf("%d of %d documents were not signed. %s", len(res.Failed), len(req.documents), o.fault)
		}
	}
	res.Timestamp = h.config.Now().UTC().Format(timestampFormat)
	return res
}

// readArgument reads either form. Base64 has no dots, and a JWT has two.
func (h *Hub) readArgument(ctx context.Context, origin, argument string) (*request, error) {
	if strings.Contains(argument, ".") {
		return h.verify(ctx, []byte(argument), origin)
	}
	if !h.config.UnsignedRequests {
		return nil, invalid("This hub signs only what a client of the signing service has asked for with a JWT. " +
			"The page sent documents that nobody has signed, which the hub's configuration doesn't allow.")
	}
	data, err := decodeBase64(argument)
	if err != nil || len(data) > jws.MaxDocument {
		return nil, invalid("The request must be a JWT, or standard base64 of JSON of at most 1 MiB.")
	}
	return readUnsigned(data)
}

// readUnsigned reads {"algorithm", "requestType", "version", "flags",
// "payloads"}.
func readUnsigned(data []byte) (*request, error) {
	m, err := readMembers(data, "algorithm", "requestType", "version", "flags", "payload", "payloads")
	if err != nil {
		return nil, invalid("The request must be one JSON object without duplicate members.")
	}
	for _, fixed := range [...]struct{ name, want string }{{"requestType", "1"}, {"version", "1"}, {"flags", "0"}} {
		if v := m[fixed.name]; v.present() && (v.Kind != jws.KindNumber || string(v.Raw) != fixed.want) {
			return nil, invalid("The request's " + fixed.name + " must be " + fixed.want + ".")
		}
	}
	r := &request{}
	if r.algorithm, err = algorithmOf(m["algorithm"]); err != nil {
		return nil, err
	}
	r.documents, err = readDocuments(m["payload"], m["payloads"])
	return r, err
}
