package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
)

// WatchOptions of Vm.Watch; nil: the zero value.
type WatchOptions struct {
	// Everything below the directory too: links are not followed, file systems mounted below are not
	// entered. At most 8192 directories; those above that are told of by one FileOverflow.
	Recursive bool
}

// FileEventKind is what happened to a file.
type FileEventKind int32

const (
	FileCreated  FileEventKind = C.MVM_FILE_EVENT_CREATED  // or moved in; may be told twice in a new directory
	FileModified FileEventKind = C.MVM_FILE_EVENT_MODIFIED // content or attributes; a write may still be going on
	FileRemoved  FileEventKind = C.MVM_FILE_EVENT_REMOVED  // or moved out
	FileRenamed  FileEventKind = C.MVM_FILE_EVENT_RENAMED  // inside of what is watched
	FileOverflow FileEventKind = C.MVM_FILE_EVENT_OVERFLOW // something was missed: look for yourself, then go on
)

func (k FileEventKind) String() string {
	switch k {
	case FileCreated:
		return "created"
	case FileModified:
		return "modified"
	case FileRemoved:
		return "removed"
	case FileRenamed:
		return "renamed"
	case FileOverflow:
		return "overflow"
	}
	return "unknown"
}

// FileEvent is one thing that happened to a file.
type FileEvent struct {
	Kind FileEventKind
	// Relative to the watched path, which itself is empty. Bytes as the guest says, at most 4095, no
	// ".." and no empty part: escape them before showing them.
	Path        string
	OldPath     string // of FileRenamed
	IsDirectory bool
}

// Watch tells what happens to files of a guest. One goroutine at a time. One that is not read holds
// no more than its stream does; behind that the guest's kernel keeps a bounded queue, and what does
// not fit there becomes one FileOverflow.
type Watch struct {
	handle *C.mvm_watch
	vm     *Vm
	in     *waiter
}

// Watch begins to tell what happens to a file, or in a directory, from now on. Links on the way and
// at the end are followed. Errors: ErrNotFound, ErrInvalidArgument, ErrProtocol or ErrIO (an image
// of a version that knows no watches).
func (vm *Vm) Watch(ctx context.Context, path string, options *WatchOptions) (*Watch, error) {
	memory := &arena{}
	cPath := memory.text("path", path)
	given := &C.mvm_watch_options{struct_size: C.sizeof_mvm_watch_options}
	if options != nil {
		given.recursive = boolOf(options.Recursive)
	}
	var out *C.mvm_watch
	err := call(ctx, vm, "watch", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_watch(vm.handle, cPath, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	w := &Watch{handle: out, vm: vm}
	w.in = newStream("watch", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_watch_fd(out, fd, err)
	})
	closeForgotten(w)
	return w, nil
}

// Next waits for the next event. io.EOF: the watched path itself is gone (removed or moved), after
// its FileRemoved. A watch does not keep the Vm awake. ErrVmGone: the connection ended, as every
// suspend, rollback and end of the Vm does; if the Vm lives, watch again and look what changed
// meanwhile. When the context ends it nothing is lost.
func (w *Watch) Next(ctx context.Context) (*FileEvent, error) {
	var out *C.mvm_file_event
	err := w.in.take(ctx, w, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_watch_try_next(w.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	return &FileEvent{
		Kind: FileEventKind(out.kind), Path: C.GoString(out.path), OldPath: C.GoString(out.old_path),
		IsDirectory: out.is_directory != 0,
	}, nil
}

// Close ends the watch, and a Next that waits.
func (w *Watch) Close() error {
	if w.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(w, nil)
	w.in.close()
	C.mvm_watch_free(w.handle)
	return nil
}
