package microvm

import (
	"errors"
	"strings"
	"testing"
)

func TestOlderLibraryIsRefused(t *testing.T) {
	if err := compareVersions(3, 3); err != nil {
		t.Error(err)
	}
	if err := compareVersions(4, 3); err != nil {
		t.Error(err)
	}
	err := compareVersions(2, 3)
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "version 3") {
		t.Error(err)
	}
}

func TestPanicOfARuntimesFunctionIsRaisedByClose(t *testing.T) {
	tell := &tellers{}
	tell.guard(func() { panic("first") })
	tell.guard(func() { panic("second") })
	func() {
		defer func() {
			if got := recover(); got != "first" {
				t.Error(got)
			}
		}()
		tell.close()
		t.Error("close returned")
	}()
	tell.guard(func() { t.Error("called after close") })
	tell.close()
}
