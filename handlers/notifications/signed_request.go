package notifications

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Limits of a request's body. The verifier bounds it as a whole.
const (
	maxTemplateID = 255  // bytes
	maxNameBytes  = 1000 // of one name of personalisation
)

// bodyLimits bound the JSON: notification, personalisation and a list nest
// four deep, and a template has at most message.MaxPlaceholders names.
var bodyLimits = jws.Limits{Depth: 8, Members: message.MaxPlaceholders + 24}

// signedRequest is the body of a POST. A member that is in wrong has no
// meaning besides.
type signedRequest struct {
	to       string
	template string
	values   message.Values
	wrong    faults
}

// parseSignedRequest reads {"to", "template", "personalisation"}, flat or as
// the one member "notification" of an object, as the clients before February
// 2016 sent it. Other members are ignored.
func parseSignedRequest(body []byte) (signedRequest, *refusal) {
	m, err := readMembers(body)
	if err != nil {
		return signedRequest{}, &refusal{status: http.StatusBadRequest, code: codeInvalidJSON, text: jsonText(err)}
	}
	req := signedRequest{wrong: faults{}}
	if inner := m.notification; inner != nil {
		switch {
		case inner.Kind != jws.KindObject:
			req.wrong.add("notification", textMapping)
		case m.to != nil || m.template != nil:
			req.wrong.add("notification", "Give to and template either inside notification or beside it, not both.")
		default:
			// It has been checked as a part of the body, so it can't fail.
			m, err = readMembers(inner.Raw)
		}
		if err != nil || len(req.wrong) > 0 {
			return req, &refusal{status: http.StatusBadRequest, code: codeInvalid, fields: req.wrong}
		}
	}
	req.readTo(m.to)
	req.readTemplate(m.template)
	req.readPersonalisation(m.personalisation)
	return req, nil
}

// members are those of an object that have a meaning; nil when absent.
type members struct {
	notification, to, template, personalisation *jws.Value
}

func readMembers(data []byte) (m members, err error) {
	err = jws.Object(data, bodyLimits, func(name jws.Text, value jws.Value) error {
		switch {
		case name.Is("to"):
			m.to = &value
		case name.Is("template"):
			m.template = &value
		case name.Is("personalisation"):
			m.personalisation = &value
		case name.Is("notification"):
			m.notification = &value
		}
		return nil
	})
	return m, err
}

var jsonReasons = map[jws.Code]string{
	jws.CodeNotObject: "the body must be an object",
	jws.CodeUTF8:      "text must be UTF-8",
	jws.CodeDuplicate: "two members have the same name",
	jws.CodeCaseTwin:  "two members have names that differ in case only",
	jws.CodeDepth:     "it is nested too deeply",
	jws.CodeMembers:   "it has too many members",
}

// jsonText says what is wrong with a body, without quoting it.
func jsonText(err error) string {
	reason, ok := jsonReasons[jws.CodeOf(err)]
	var e *jws.Error
	if !ok && errors.As(err, &e) {
		reason = fmt.Sprintf("syntax error at byte %d", e.Offset)
	}
	return "Invalid JSON: " + reason
}

func (req *signedRequest) readTo(v *jws.Value) {
	switch {
	case v == nil:
		req.wrong.add("to", textMissing)
	case v.Kind == jws.KindNull:
		req.wrong.add("to", textNull)
	case v.Kind != jws.KindString:
		req.wrong.add("to", textString)
	default:
		req.to = v.Text().String()
	}
}

// readTemplate reads an id, which is opaque: an integer, or text such as a
// UUID.
func (req *signedRequest) readTemplate(v *jws.Value) {
	switch {
	case v == nil:
		req.wrong.add("template", textMissing)
		return
	case v.Kind == jws.KindNull:
		req.wrong.add("template", textNull)
		return
	case v.Kind == jws.KindNumber:
		req.template = string(v.Raw)
		if n, err := strconv.ParseInt(req.template, 10, 64); err == nil && n >= 0 && strconv.FormatInt(n, 10) == req.template {
			return
		}
	case v.Kind == jws.KindString:
		req.template = v.Text().String()
		if req.template != "" && len(req.template) <= maxTemplateID && !message.HasControl(req.template) {
			return
		}
	}
	req.wrong.add("template", textTemplate)
}

func (req *signedRequest) readPersonalisation(v *jws.Value) {
	switch {
	case v == nil || v.Kind == jws.KindNull:
		return
	case v.Kind != jws.KindObject:
		req.wrong.add("personalisation", textMapping)
		return
	}
	// As above: it has been checked, so only set can end the reading.
	_ = jws.Object(v.Raw, bodyLimits, func(name jws.Text, value jws.Value) error {
		return req.set(name.String(), value)
	})
}

var errBadName = errors.New("bad name")

// set adds one value of personalisation. Null counts as missing.
func (req *signedRequest) set(name string, v jws.Value) error {
	if len(name) > maxNameBytes || message.HasControl(name) {
		req.wrong.add("personalisation", fmt.Sprintf("A name must not be longer than %d bytes or hold control characters", maxNameBytes))
		return errBadName // nor be repeated in further texts
	}
	if v.Kind == jws.KindNull {
		return nil
	}
	value, problem := personal(v)
	if problem == "" && req.values.Set(name, value) != nil {
		problem = "is given twice: case, spaces, _ and - make no difference"
	}
	if problem != "" {
		req.wrong.add("personalisation", name+": "+problem)
	}
	return nil
}

// personal makes a value of text, a number, a boolean, or a list of those.
func personal(v jws.Value) (value message.Value, problem string) {
	if v.Kind != jws.KindArray {
		text, problem := scalar(v)
		return message.Text(text), problem
	}
	var items []string
	_ = jws.Array(v.Raw, bodyLimits, func(_ int, item jws.Value) error {
		if item.Kind == jws.KindNull || problem != "" {
			return nil
		}
		var text string
		text, problem = scalar(item)
		items = append(items, text)
		return nil
	})
	return message.List(items...), problem
}

// scalar is a value as text: numbers as they are written, booleans as true and
// false.
func scalar(v jws.Value) (text, problem string) {
	switch v.Kind {
	case jws.KindString:
		if text = v.Text().String(); message.HasControl(text) {
			return "", "must not hold control characters"
		}
		return text, ""
	case jws.KindNumber, jws.KindBool:
		return string(v.Raw), ""
	case jws.KindNull, jws.KindArray, jws.KindObject:
	}
	return "", "must be text, a number, true or false, or a list of those"
}
