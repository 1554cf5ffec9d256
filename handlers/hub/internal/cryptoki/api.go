package cryptoki

import (
	"errors"
	"fmt"
)

// ErrNoCgo is what a program without cgo answers: modules are C libraries.
var ErrNoCgo = errors.New("built without cgo: use ./xcaddy.sh hub")

// Slot is where a token may be: a reader.
type Slot uint

// Session is a session's handle.
type Session uint

// Object is the handle of a key or certificate, within a session.
type Object uint

// Attribute is an attribute of an object (CKA_…) in the byte order of the
// machine.
type Attribute struct {
	Type  uint
	Value []byte
}

// Token is what is known of a token without a PIN (CK_TOKEN_INFO).
type Token struct {
	Label        string
	Manufacturer string
	Model        string
	Serial       string
	Flags        uint // CKF_…
}

// Library describes a module (CK_INFO).
type Library struct {
	Manufacturer string
	Description  string
	Version      string
}

// API are the functions of a module that Signpost uses, by the names that PKCS
// #11 gives them. Their errors are of the type [Error].
type API interface {
	GetInfo() (Library, error)
	// GetSlotList returns the slots, or those that hold a token.
	GetSlotList(withToken bool) ([]Slot, error)
	GetTokenInfo(slot Slot) (Token, error)
	// GetMechanismList returns the CKM_… that the token can do.
	GetMechanismList(slot Slot) ([]uint, error)

	OpenSession(slot Slot, flags uint) (Session, error)
	CloseSession(session Session) error
	Login(session Session, userType uint, pin string) error
	Logout(session Session) error

	// FindObjects returns the objects that have all attributes, at most limit.
	FindObjects(session Session, template []Attribute, limit int) ([]Object, error)
	// GetAttribute returns one attribute of an object.
	GetAttribute(session Session, object Object, attribute uint) ([]byte, error)

	// SignInit starts a signature with a mechanism that has no parameters.
	SignInit(session Session, mechanism uint, key Object) error
	Sign(session Session, data []byte) ([]byte, error)

	// The following change a token.
	InitToken(slot Slot, soPIN, label string) error
	InitPIN(session Session, pin string) error
	// GenerateKeyPair makes a pair of keys by a mechanism that has no parameters.
	GenerateKeyPair(session Session, mechanism uint, public, private []Attribute) (publicKey, privateKey Object, err error)
	CreateObject(session Session, template []Attribute) (Object, error)
}

// library is an API with its beginning and end.
type library interface {
	API
	Initialize() error
	Finalize() error
}

// Error is what a module answered other than CKR_OK.
type Error struct {
	Function string // such as C_Login
	Code     uint   // CKR_…
}

// Error implements error.
func (e Error) Error() string {
	if name := codeName(e.Code); name != "" {
		return fmt.Sprintf("pkcs11: %s: %s (0x%X)", e.Function, name, e.Code)
	}
	return fmt.Sprintf("pkcs11: %s: error 0x%X", e.Function, e.Code)
}

// CodeOf returns the CKR_… of an error, 0 (CKR_OK) when a module didn't make it.
func CodeOf(err error) uint {
	e, _ := errors.AsType[Error](err)
	return e.Code
}
