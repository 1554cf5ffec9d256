package caddymodule

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/signing/client"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

// signFile is a file that is signed.
type signFile struct {
	path                   string
	id                     string // of its document
	signature, certificate string // files to be written
}

type signFiles struct {
	all   []signFile
	force bool
}

// fileShown is what sign request says of a file.
type fileShown struct {
	File        string `json:"file"`
	ID          string `json:"id"`
	Signature   string `json:"signature_file"`
	Certificate string `json:"certificate_file"`
}

func (s *signFiles) shown() []fileShown {
	all := make([]fileShown, len(s.all))
	for i, f := range s.all {
		all[i] = fileShown{f.path, f.id, f.signature, f.certificate}
	}
	return all
}

// newSignFiles chooses the documents' ids and where the signatures go, and
// finds out at once what would keep them from being written.
func newSignFiles(paths []string, folder string, force bool) (*signFiles, error) {
	if len(paths) > client.MaxDocuments {
		return nil, fmt.Errorf("there are %d files, more than the %d that can be signed at once", len(paths), client.MaxDocuments)
	}
	if folder != "" {
		info, err := os.Stat(folder)
		if err == nil && !info.IsDir() {
			err = errors.New("it is no folder")
		}
		if err != nil {
			return nil, fmt.Errorf("--out %s: %w", folder, err)
		}
	}
	s := &signFiles{all: make([]signFile, len(paths)), force: force}
	ids := make(map[string]bool, len(paths))
	for i, path := range paths {
		f := signFile{path: path, id: documentID(path, ids)}
		base := path
		if folder != "" || path == "-" {
			base = filepath.Join(folder, f.id)
		}
		f.signature, f.certificate = base+".sig", base+".cert.pem"
		s.all[i] = f
		if err := errors.Join(s.free(f.signature), s.free(f.certificate)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// free refuses the name of a file that exists, unless it may be overwritten.
func (s *signFiles) free(path string) error {
	if s.force || absent(path) == nil {
		return nil
	}
	return fmt.Errorf("%s exists already: name another folder with --out, or overwrite it with --force", path)
}

// maxID leaves room for what makes ids unique, and for the ends of file names.
const maxID = 200

// documentID makes the id of a file's document of its name, and remembers it.
// Ids differ in more than case, as they may be names of files.
func documentID(path string, taken map[string]bool) string {
	name := filepath.Base(path)
	if path == "-" {
		name = "stdin"
	}
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxID {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	id := name
	for n := 2; taken[strings.ToLower(id)]; n++ {
		id = fmt.Sprintf("%s-%d", name, n)
	}
	taken[strings.ToLower(id)] = true
	return id
}

// read reads the files' exact bytes, and stops when there are more than fit.
func (s *signFiles) read(cmd *cobra.Command) ([]evidence.Document, error) {
	documents := make([]evidence.Document, len(s.all))
	infos := make([]fs.FileInfo, 0, len(s.all))
	size := 0
	for i, f := range s.all {
		if err := s.once(f.path, &infos); err != nil {
			return nil, err
		}
		text, err := readInput(cmd, f.path)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, fmt.Errorf("%s is empty: there is nothing to sign", f.path)
		}
		if size += len(text); size > client.MaxBytes {
			return nil, fmt.Errorf("the files have more than %d KiB, more than can be signed at once: about 570 KiB", client.MaxBytes>>10)
		}
		documents[i] = evidence.Document{ID: f.id, Payload: text}
	}
	return documents, nil
}

// oneStdin refuses to read several files from standard input.
func oneStdin(paths ...string) error {
	found := false
	for _, path := range paths {
		if path == "-" && found {
			return errors.New("only one file can be read from standard input")
		}
		found = found || path == "-"
	}
	return nil
}

// once refuses a file that is named twice.
func (s *signFiles) once(path string, seen *[]fs.FileInfo) error {
	if path == "-" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, other := range *seen {
		if os.SameFile(info, other) {
			return fmt.Errorf("%s is named twice", path)
		}
	}
	*seen = append(*seen, info)
	return nil
}

// write writes the signatures, each with the certificate that verifies it.
func (s *signFiles) write(r *client.Response, certificate *x509.Certificate) error {
	values := make(map[string]string, len(r.Signatures))
	for _, v := range r.Signatures {
		values[v.ID] = v.Value
	}
	armoured := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	for _, f := range s.all {
		value, ok := values[f.id]
		if !ok && len(s.all) == 1 {
			value = r.Signatures[0].Value // the form with one document has no ids
		}
		signature, err := base64.StdEncoding.DecodeString(value)
		if err == nil {
			err = s.put(f.signature, signature)
		}
		if err == nil {
			err = s.put(f.certificate, armoured)
		}
		if err != nil {
			return fmt.Errorf("all signatures are there and verify, but they can't be written: %w", err)
		}
	}
	return nil
}

// put writes a file that anybody may read.
func (s *signFiles) put(path string, text []byte) error {
	if s.force && absent(path) != nil {
		before, err := os.ReadFile(path) //nolint:gosec // the user names their own file
		if err != nil {
			return err
		}
		return replaceFile(path, before, text)
	}
	return createFile(path, text, 0o644)
}
