//go:build guest

package microvm_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	microvm "libmicrovm.dev/go"
)

func TestGuestFiles(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	if err := vm.MakeDirectory(ctx, "/tmp/go/a", &microvm.MakeDirectoryOptions{Parents: true, Mode: microvm.Mode(0o750)}); err != nil {
		t.Fatal(err)
	}
	if err := vm.MakeDirectory(ctx, "/tmp/go", nil); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := vm.WriteFile(ctx, "/tmp/go/f", []byte("hello"), &microvm.WriteFileOptions{Mode: microvm.Mode(0o640 | fs.ModeSetuid)}); err != nil {
		t.Fatal(err)
	}
	if err := vm.WriteFile(ctx, "/tmp/go/f", nil, &microvm.WriteFileOptions{NoReplace: true}); !errors.Is(err, microvm.ErrAlreadyExists) {
		t.Error(err)
	}
	if err := vm.AppendFile(ctx, "/tmp/go/f", []byte(" you"), nil); err != nil {
		t.Error(err)
	}
	if got := must(vm.ReadFile(ctx, "/tmp/go/f", nil))(t); string(got) != "hello you" {
		t.Error(string(got))
	}
	if got := must(vm.ReadFile(ctx, "/tmp/go/f", &microvm.ReadFileOptions{Offset: 6, Length: 2}))(t); string(got) != "yo" {
		t.Error(string(got))
	}
	info := must(vm.StatFile(ctx, "/tmp/go/f", nil))(t)
	if info.Mode != 0o640|fs.ModeSetuid || info.Size != 9 || info.UID != 0 || time.Since(info.ModTime) > time.Hour {
		t.Error(info)
	}
	output(t, vm, "ln", "-s", "f", "/tmp/go/link")
	if info := must(vm.StatFile(ctx, "/tmp/go/link", &microvm.StatFileOptions{NoFollowLink: true}))(t); info.Mode.Type() != fs.ModeSymlink || info.LinkTarget != "f" {
		t.Error(info)
	}
	var names []string
	for _, file := range must(vm.ListFiles(ctx, "/tmp/go", nil))(t) {
		names = append(names, file.Name+" "+file.Mode.Type().String())
	}
	if strings.Join(names, ",") != "a d---------,f ----------,link L---------" {
		t.Error(names)
	}
	if err := vm.RenameFile(ctx, "/tmp/go/f", "/tmp/go/g", &microvm.RenameFileOptions{NoReplace: true}); err != nil {
		t.Error(err)
	}
	if err := vm.RemoveFile(ctx, "/tmp/go", nil); err == nil {
		t.Error("removed what is not empty")
	}
	if err := vm.RemoveFile(ctx, "/tmp/go", &microvm.RemoveFileOptions{Recursive: true}); err != nil {
		t.Error(err)
	}
	_, err := vm.ReadFile(ctx, "/tmp/go/g", nil)
	wantError(t, err, microvm.ErrNotFound)
	wantError(t, vm.WriteFile(ctx, "/tmp/x", nil, &microvm.WriteFileOptions{Mode: microvm.Mode(fs.ModeDir)}), microvm.ErrInvalidArgument)
}

func TestGuestFilesFromReadersToWriters(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	if err := vm.WriteFileFrom(ctx, "/tmp/large", bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	info := must(vm.ReadFileTo(ctx, "/tmp/large", &back, nil))(t)
	if !bytes.Equal(back.Bytes(), content) || info.Size != int64(len(content)) {
		t.Error(back.Len(), info)
	}
	if _, err := vm.ReadFileTo(ctx, "/tmp/large", brokenStream{}, nil); err != errBroken {
		t.Error(err)
	}
	if err := vm.WriteFileFrom(ctx, "/tmp/large", brokenStream{}, nil); err != errBroken {
		t.Error(err)
	}
	if got := must(vm.StatFile(ctx, "/tmp/large", nil))(t); got.Size != int64(len(content)) {
		t.Error("after an error the old one:", got)
	}
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("another panic")
			}
		}()
		_, err := vm.ReadFileTo(ctx, "/tmp/large", writerFunc(func([]byte) (int, error) { panic("mine") }), nil)
		t.Error("returned", err)
	}()
	if err := vm.RemoveFile(ctx, "/tmp/large", nil); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

func TestGuestTrees(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "tree", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "tree", "sub", "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	totals := must(vm.Upload(ctx, filepath.Join(from, "tree"), "/tmp/up", nil))(t)
	if totals.Entries != 3 || totals.Bytes != 7 {
		t.Error(totals)
	}
	totals = must(vm.Download(ctx, "/tmp/up/tree", to, &microvm.DownloadOptions{Name: "other"}))(t)
	got, err := os.ReadFile(filepath.Join(to, "other", "sub", "file"))
	if totals.Bytes != 7 || string(got) != "content" || err != nil {
		t.Error(totals, string(got), err)
	}
	// From one directory of the guest to another, through both calls at once.
	reader, writer := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		_, err := vm.UploadTar(ctx, reader, "/tmp/again", nil)
		copied <- err
	}()
	_, err = vm.DownloadTar(ctx, "/tmp/up/tree", writer, nil)
	writer.CloseWithError(err)
	if uploaded := <-copied; err != nil || uploaded != nil {
		t.Fatal(err, uploaded)
	}
	if got := must(vm.ReadFile(ctx, "/tmp/again/tree/sub/file", nil))(t); string(got) != "content" {
		t.Error(string(got))
	}
	var archive bytes.Buffer
	must(vm.DownloadTar(ctx, "/tmp/up/tree", &archive, nil))(t)
	if header := must(tar.NewReader(&archive).Next())(t); !strings.HasPrefix(header.Name, "tree") {
		t.Error(header)
	}
	_, err = vm.UploadTar(ctx, strings.NewReader(strings.Repeat("no tar", 1000)), "/tmp/again", nil)
	wantError(t, err, microvm.ErrCorrupt)
	_, err = vm.UploadTar(ctx, brokenStream{}, "/tmp/again", nil)
	if err != errBroken {
		t.Error(err)
	}
}

func TestGuestWatch(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	if err := vm.MakeDirectory(ctx, "/tmp/watched", nil); err != nil {
		t.Fatal(err)
	}
	watch := must(vm.Watch(ctx, "/tmp/watched", &microvm.WatchOptions{Recursive: true}))(t)
	defer watch.Close()
	output(t, vm, "sh", "-c", "cd /tmp/watched; mkdir d; mv d e; rmdir e; cd /; rmdir /tmp/watched")
	var seen []string
	for {
		event, err := watch.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, event.Kind.String()+" "+event.OldPath+">"+event.Path)
	}
	all := strings.Join(seen, ",")
	for _, want := range []string{"created >d", "renamed d>e", "removed >e", "removed >"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
}
