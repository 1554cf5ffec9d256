package caddymodule

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
)

// jwksCommand is `caddy signpost jwks`.
func jwksCommand() *cobra.Command {
	return group("jwks", "Makes, shows and rotates keys and key sets",
		jwksGenerateCommand(), jwksShowCommand(), jwksRotateCommand())
}

// keyPair is a new private key and its public half.
type keyPair struct {
	private crypto.Signer
	public  *jwks.Key
}

// pairFlags say what key to make.
type pairFlags struct {
	kid, alg *string
	bits     *int
}

func addPairFlags(cmd *cobra.Command) pairFlags {
	f := cmd.Flags()
	return pairFlags{
		kid:  f.String("kid", "", "The key's id, 1 to 128 printable ASCII characters (default: its RFC 7638 thumbprint)"),
		alg:  f.String("alg", jwks.DefaultAlgorithm, "The algorithm that the key is for: "+strings.Join(jwks.Algorithms(), ", ")),
		bits: f.Int("bits", 0, fmt.Sprintf("The size of an RSA key, %d to %d (default %d)", jwks.DefaultMinKeyBits, jwks.MaxKeyBits, jwks.DefaultKeyBits)),
	}
}

func (f pairFlags) generate() (keyPair, error) {
	private, err := jwks.GeneratePrivateKey(*f.alg, *f.bits)
	if err != nil {
		return keyPair{}, err
	}
	kid := *f.kid
	if kid == "" {
		unnamed, err := jwks.NewKey("", *f.alg, private.Public())
		if err != nil {
			return keyPair{}, err
		}
		kid = unnamed.Thumbprint
	}
	public, err := jwks.NewKey(kid, *f.alg, private.Public())
	return keyPair{private, public}, err
}

// writePrivate writes the private key to a new file that only its owner can
// read.
func (p keyPair) writePrivate(path string) error {
	text, err := jwks.EncodePrivateKey(p.private)
	if err != nil {
		return err
	}
	return createFile(path, text, 0o600)
}

// keyFileName makes the beginning of a file's name of a kid, which is any text:
// one that isn't fit for that is refused rather than changed.
func keyFileName(kid string) (string, error) {
	for _, c := range []byte(kid) {
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return "", fmt.Errorf("the kid %q can't be the name of a file: name the files with --private and --public", kid)
		}
	}
	if strings.HasPrefix(kid, ".") {
		return "", fmt.Errorf("the kid %q would make hidden files: name them with --private and --public", kid)
	}
	// One in 64 thumbprints begins with a dash, as flags do.
	if strings.HasPrefix(kid, "-") {
		return "_" + kid[1:], nil
	}
	return kid, nil
}

// generated is what generate and rotate print with --json.
type generated struct {
	Kid         string     `json:"kid"`
	Alg         string     `json:"alg"`
	Bits        int        `json:"bits"`
	PrivateFile string     `json:"private_file"`
	PublicFile  string     `json:"public_file"`
	JWK         *jwks.Key  `json:"jwk"`
	Keys        []keyShown `json:"keys,omitempty"`
}

func jwksGenerateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate [--kid <kid>] [--alg RS512] [--bits 4096] [--out <folder> | --private <file> --public <file>]",
		Short: "Makes a key pair: a private key and a key set with its public half",
		Long: `Makes a key pair and writes two files: the private key as PKCS #8 in PEM, which
only its owner can read (mode 0600), and a JWK set with the public key, which
anybody may have. Prints the public key.

Files that exist are never overwritten. The private key is not printed, and is
in no other place than its file.`,
		Example: `  caddy signpost jwks generate --kid 2026-11 --out /etc/signpost`,
		Args:    cobra.NoArgs,
	}
	what := addPairFlags(cmd)
	f := cmd.Flags()
	out := f.String("out", ".", "The folder of <kid>.key.pem and <kid>.jwks.json")
	privateFile := f.String("private", "", "The file of the private key (default <kid>.key.pem)")
	publicFile := f.String("public", "", "The file of the key set (default <kid>.jwks.json)")
	asJSON := jsonFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("out", "private")
	cmd.MarkFlagsMutuallyExclusive("out", "public")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names := pairFiles{*privateFile, *publicFile}
		if *what.kid != "" {
			// Before the key is made, which may take long.
			if err := names.complete(*out, *what.kid); err != nil {
				return err
			}
			if err := errors.Join(absent(names.private), absent(names.public)); err != nil {
				return err
			}
		}
		pair, err := what.generate()
		if err != nil {
			return err
		}
		if err := names.complete(*out, pair.public.Kid); err != nil {
			return err
		}
		if err := pair.write(names); err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, generated{
				Kid: pair.public.Kid, Alg: pair.public.Alg, Bits: pair.public.Bits,
				PrivateFile: names.private, PublicFile: names.public, JWK: pair.public,
			})
		}
		fmt.Fprintf(w, "kid          %s\nprivate key  %s (only for whoever signs)\npublic key   %s (for whoever verifies)\n\n", pair.public.Kid, names.private, names.public)
		return printJSON(w, pair.public)
	}
	return cmd
}

// pairFiles are where a pair goes.
type pairFiles struct{ private, public string }

// complete fills in the names that were not given.
func (n *pairFiles) complete(folder, kid string) error {
	if n.private != "" && n.public != "" {
		return nil
	}
	name, err := keyFileName(kid)
	if err != nil {
		return err
	}
	if n.private == "" {
		n.private = filepath.Join(folder, name+".key.pem")
	}
	if n.public == "" {
		n.public = filepath.Join(folder, name+".jwks.json")
	}
	return nil
}

// write writes both files or none.
func (p keyPair) write(names pairFiles) error {
	doc, err := keyDocument{}.with(p.public)
	if err != nil {
		return err
	}
	text, err := doc.encode()
	if err != nil {
		return err
	}
	if err := p.writePrivate(names.private); err != nil {
		return err
	}
	if err := createFile(names.public, text, 0o644); err != nil {
		return errors.Join(err, os.Remove(names.private))
	}
	return nil
}
