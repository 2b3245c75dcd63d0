package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// record is what Uninstall needs to know. It contains the user's settings, so only the user
// may read it.
type record struct {
	ConfigDir  string              `json:"claudeConfigDir"`
	Before     snapshot            `json:"before"` // settings.json before the first installation
	Left       snapshot            `json:"left"`   // settings.json after the latest installation
	Registry   map[string]snapshot `json:"registry"`
	NewFolders []string            `json:"newFolders"` // folders that did not exist before
}

// recordName returns the name of the record, which depends on Claude Code's directory.
func (i *Installer) recordName() string {
	sum := sha256.Sum256([]byte(i.ConfigDir))
	return "install-" + hex.EncodeToString(sum[:6]) + ".json"
}

// load returns nil if there is no record.
func (i *Installer) load() (*record, error) {
	b, err := os.ReadFile(i.Dir.Path(i.recordName()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of the installation: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read record of the installation, %s: %w", i.Dir.Path(i.recordName()), err)
	}
	return &r, nil
}

func (i *Installer) save(r *record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record the installation: %w", err)
	}
	return i.Dir.WriteFile(i.recordName(), append(b, '\n'))
}

func (i *Installer) forget() error {
	if err := os.Remove(i.Dir.Path(i.recordName())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of the installation: %w", err)
	}
	return nil
}

// begin records the files before the first change. The recorded settings don't contain our
// entries.
func (i *Installer) begin(now snapshot) (*record, error) {
	r := &record{ConfigDir: i.ConfigDir, Before: now, Registry: make(map[string]snapshot)}
	if now.there() && hasEntries(now.Text) { // an earlier installation has lost its record
		r.Before.Text = without(now.Text, nil)
	}
	for _, file := range registry {
		s, err := take(i.claudePath(file.name))
		if err != nil {
			return nil, err
		}
		r.Registry[file.name] = s
	}
	for _, name := range folders {
		if _, err := os.Stat(i.claudePath(name)); errors.Is(err, fs.ErrNotExist) {
			r.NewFolders = append(r.NewFolders, name)
		}
	}
	return r, i.save(r)
}
