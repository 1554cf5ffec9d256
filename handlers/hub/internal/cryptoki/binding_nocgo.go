//go:build !cgo

package cryptoki

const available = false

func load(string) (library, error) { return nil, ErrNoCgo }

func codeName(uint) string { return "" }
