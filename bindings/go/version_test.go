package microvm

import (
	"errors"
	"runtime"
	"sort"
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
	tell.tell(func() { panic("first") })
	tell.tell(func() { panic("second") })
	func() {
		defer func() {
			if got := recover(); got != "first" {
				t.Error(got)
			}
		}()
		tell.close()
		t.Error("close returned")
	}()
	tell.tell(func() { t.Error("called after close") })
	tell.close()
}

func TestARuntimesFunctionsAreCalledInOrderUntilClose(t *testing.T) {
	tell := &tellers{}
	var told []int
	for i := 0; i < 1000; i++ {
		i := i
		tell.tell(func() {
			told = append(told, i)
			if i%100 == 0 {
				runtime.Goexit() // as testing's FailNow does
			}
		})
	}
	func() {
		defer func() { _ = recover() }()
		tell.close()
	}()
	if len(told) != 1000 || !sort.IntsAreSorted(told) {
		t.Error(len(told), told)
	}
}
