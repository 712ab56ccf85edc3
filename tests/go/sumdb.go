// What Go's checksum database makes of our notes, proofs and tiles. It knows nothing of tracecode.
//
// One question a line on stdin, one answer a line on stdout, both JSON.
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Ask       string
	Note      string
	Text      string
	Keys      []string
	Witnesses []string
	Folder    string
	Old, Size int64
	Index     int64
	OldRoot   []byte
	Root      []byte
	Entry     []byte
	Proof     [][]byte
}

type answer struct {
	Error string
	Text  string
	Names []string
	Proof [][]byte
}

// witness verifies a cosignature: a time, then Ed25519 over that time and the text.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(text, signature []byte) bool {
	if len(signature) != 72 {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(w.key, []byte(message), signature[8:])
}

func newWitness(line string) (note.Verifier, error) {
	parts := strings.SplitN(line, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("no key of a witness")
	}
	hash := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	id := binary.BigEndian.Uint32(hash[:])
	if fmt.Sprintf("%08x", id) != parts[1] {
		return nil, errors.New("another id")
	}
	return &witness{parts[0], id, key[1:]}, nil
}

// folder reads our tiles, whose paths do not name the height.
type folder string

func (f folder) Height() int { return 8 }
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return
}

func hashes(list [][]byte) (found []tlog.Hash) {
	for _, one := range list {
		found = append(found, hash(one))
	}
	return
}

func list(found []tlog.Hash) (data [][]byte) {
	for i := range found {
		data = append(data, found[i][:])
	}
	return
}

func (q question) answer() (a answer, err error) {
	tree := tlog.Tree{N: q.Size, Hash: hash(q.Root)}
	switch q.Ask {
	case "note":
		var known []note.Verifier
		for _, key := range q.Keys {
			verifier, err := note.NewVerifier(key)
			if err != nil {
				return a, err
			}
			known = append(known, verifier)
		}
		for _, key := range q.Witnesses {
			verifier, err := newWitness(key)
			if err != nil {
				return a, err
			}
			known = append(known, verifier)
		}
		opened, err := note.Open([]byte(q.Note), note.VerifierList(known...))
		if err != nil {
			return a, err
		}
		a.Text = opened.Text
		for _, signature := range opened.Sigs {
			a.Names = append(a.Names, fmt.Sprintf("%s+%08x", signature.Name, signature.Hash))
		}
	case "sign":
		signer, err := note.NewSigner(q.Keys[0])
		if err != nil {
			return a, err
		}
		signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
		if err != nil {
			return a, err
		}
		a.Text = string(signed)
	case "tree":
		a.Text = string(tlog.FormatTree(tree))
	case "inclusion":
		err = tlog.CheckRecord(hashes(q.Proof), q.Size, tree.Hash, q.Index, tlog.RecordHash(q.Entry))
	case "consistency":
		err = tlog.CheckTree(hashes(q.Proof), q.Size, tree.Hash, q.Old, hash(q.OldRoot))
	case "prove inclusion":
		proof, err := tlog.ProveRecord(q.Size, q.Index, tlog.TileHashReader(tree, folder(q.Folder)))
		a.Proof = list(proof)
		return a, err
	case "prove consistency":
		proof, err := tlog.ProveTree(q.Size, q.Old, tlog.TileHashReader(tree, folder(q.Folder)))
		a.Proof = list(proof)
		return a, err
	default:
		err = errors.New("no such question")
	}
	return a, err
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			panic(err)
		}
		a, err := q.answer()
		if err != nil {
			a.Error = err.Error()
		}
		out.Encode(a)
	}
}
