//go:build cgo

package cryptoki

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/miekg/pkcs11"
)

const available = true

// binding is a library by way of miekg/pkcs11.
type binding struct{ ctx *pkcs11.Ctx }

// load maps a module into the process. It is never unmapped: modules leave
// threads and exit handlers behind that then run into nothing.
func load(path string) (library, error) {
	ctx := pkcs11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("%s can't be loaded: it must be a PKCS #11 module for %s/%s, and ldd must find all libraries that it needs",
			path, runtime.GOOS, runtime.GOARCH)
	}
	return binding{ctx}, nil
}

// codeName is the name of a CKR_….
func codeName(code uint) string {
	_, name, _ := strings.Cut(pkcs11.Error(code).Error(), ": 0x")
	_, name, _ = strings.Cut(name, ": ")
	return name
}

// failed makes an Error of what miekg/pkcs11 returned.
func failed(function string, err error) error {
	if err == nil {
		return nil
	}
	if code, ok := errors.AsType[pkcs11.Error](err); ok {
		return Error{Function: function, Code: uint(code)}
	}
	return fmt.Errorf("pkcs11: %s: %w", function, err)
}

func (b binding) Initialize() error { return failed("C_Initialize", b.ctx.Initialize()) }

func (b binding) Finalize() error { return failed("C_Finalize", b.ctx.Finalize()) }

func (b binding) GetInfo() (Library, error) {
	i, err := b.ctx.GetInfo()
	return Library{
		Manufacturer: text(i.ManufacturerID), Description: text(i.LibraryDescription),
		Version: fmt.Sprintf("%d.%d", i.LibraryVersion.Major, i.LibraryVersion.Minor),
	}, failed("C_GetInfo", err)
}

func (b binding) GetSlotList(withToken bool) ([]Slot, error) {
	ids, err := b.ctx.GetSlotList(withToken)
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_BUFFER_TOO_SMALL)) {
		// A card came between the call that asks how many and the one that asks
		// which.
		ids, err = b.ctx.GetSlotList(withToken)
	}
	slots := make([]Slot, len(ids))
	for i, id := range ids {
		slots[i] = Slot(id)
	}
	return slots, failed("C_GetSlotList", err)
}

func (b binding) GetTokenInfo(slot Slot) (Token, error) {
	t, err := b.ctx.GetTokenInfo(uint(slot))
	return Token{
		Label: text(t.Label), Manufacturer: text(t.ManufacturerID), Model: text(t.Model),
		Serial: text(t.SerialNumber), Flags: t.Flags,
	}, failed("C_GetTokenInfo", err)
}

// text takes the padding off a field of fixed length: blanks, and what modules
// put there against the rules.
func text(field string) string {
	return strings.ToValidUTF8(strings.TrimRight(field, " \x00"), "\uFFFD")
}

func (b binding) GetMechanismList(slot Slot) ([]uint, error) {
	list, err := b.ctx.GetMechanismList(uint(slot))
	ids := make([]uint, len(list))
	for i, m := range list {
		ids[i] = m.Mechanism
	}
	return ids, failed("C_GetMechanismList", err)
}

func (b binding) OpenSession(slot Slot, flags uint) (Session, error) {
	s, err := b.ctx.OpenSession(uint(slot), flags)
	return Session(s), failed("C_OpenSession", err)
}

func (b binding) CloseSession(session Session) error {
	return failed("C_CloseSession", b.ctx.CloseSession(pkcs11.SessionHandle(session)))
}

func (b binding) Login(session Session, userType uint, pin string) error {
	return failed("C_Login", b.ctx.Login(pkcs11.SessionHandle(session), userType, pin))
}

func (b binding) Logout(session Session) error {
	return failed("C_Logout", b.ctx.Logout(pkcs11.SessionHandle(session)))
}

func (b binding) FindObjects(session Session, template []Attribute, limit int) (objects []Object, err error) {
	s := pkcs11.SessionHandle(session)
	if err := b.ctx.FindObjectsInit(s, attributes(template)); err != nil {
		return nil, failed("C_FindObjectsInit", err)
	}
	defer func() {
		if e := b.ctx.FindObjectsFinal(s); err == nil {
			err = failed("C_FindObjectsFinal", e)
		}
	}()
	for len(objects) < limit {
		found, _, err := b.ctx.FindObjects(s, limit-len(objects))
		if err != nil {
			return nil, failed("C_FindObjects", err)
		}
		if len(found) == 0 {
			break
		}
		for _, o := range found {
			objects = append(objects, Object(o))
		}
	}
	return objects, nil
}

func (b binding) GetAttribute(session Session, object Object, attribute uint) ([]byte, error) {
	values, err := b.ctx.GetAttributeValue(pkcs11.SessionHandle(session), pkcs11.ObjectHandle(object),
		[]*pkcs11.Attribute{pkcs11.NewAttribute(attribute, nil)})
	if err != nil {
		return nil, failed("C_GetAttributeValue", err)
	}
	return values[0].Value, nil
}

func (b binding) SignInit(session Session, mechanism uint, key Object) error {
	return failed("C_SignInit", b.ctx.SignInit(pkcs11.SessionHandle(session), plain(mechanism), pkcs11.ObjectHandle(key)))
}

func (b binding) Sign(session Session, data []byte) ([]byte, error) {
	signature, err := b.ctx.Sign(pkcs11.SessionHandle(session), data)
	return signature, failed("C_Sign", err)
}

func (b binding) InitToken(slot Slot, soPIN, label string) error {
	return failed("C_InitToken", b.ctx.InitToken(uint(slot), soPIN, label))
}

func (b binding) InitPIN(session Session, pin string) error {
	return failed("C_InitPIN", b.ctx.InitPIN(pkcs11.SessionHandle(session), pin))
}

func (b binding) GenerateKeyPair(session Session, mechanism uint, public, private []Attribute) (publicKey, privateKey Object, err error) {
	pub, priv, err := b.ctx.GenerateKeyPair(pkcs11.SessionHandle(session), plain(mechanism), attributes(public), attributes(private))
	return Object(pub), Object(priv), failed("C_GenerateKeyPair", err)
}

func (b binding) CreateObject(session Session, template []Attribute) (Object, error) {
	o, err := b.ctx.CreateObject(pkcs11.SessionHandle(session), attributes(template))
	return Object(o), failed("C_CreateObject", err)
}

func plain(mechanism uint) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}
}

func attributes(template []Attribute) []*pkcs11.Attribute {
	list := make([]*pkcs11.Attribute, len(template))
	for i, a := range template {
		list[i] = &pkcs11.Attribute{Type: a.Type, Value: a.Value}
	}
	return list
}
