package microvm

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
)

// DownloadOptions of Vm.Download and DownloadTar; nil: the zero value. They bound what the guest
// may decide.
type DownloadOptions struct {
	Name       string // of the top in the result; empty: its own; ".": only what is in it
	FollowLink bool   // when the path is a link: what it leads to
	// When there is a link at the place of the top: what it leads to is written, and made where it is
	// not there, as docker cp does. Links below the top are never followed. Not into a tar, not with
	// the name ".".
	FollowTarget bool
	KeepOwner    bool   // into a directory: owners by number, as far as this process may
	MaxEntries   uint64 // 0: 200,000
	MaxBytes     uint64 // of all files together; 0: 16 GiB
}

func (o *DownloadOptions) given(memory *arena) *C.mvm_download_options {
	if o == nil {
		return nil
	}
	return &C.mvm_download_options{
		struct_size:   C.sizeof_mvm_download_options,
		follow_link:   boolOf(o.FollowLink),
		name:          memory.option("name", o.Name),
		follow_target: boolOf(o.FollowTarget),
		keep_owner:    boolOf(o.KeepOwner),
		max_entries:   C.uint64_t(o.MaxEntries),
		max_bytes:     C.uint64_t(o.MaxBytes),
	}
}

// UploadOptions of Vm.Upload and UploadTar; nil: the zero value.
type UploadOptions struct {
	Name       string // as in DownloadOptions; not with a tar
	FollowLink bool   // as in DownloadOptions; not with a tar
	// As in DownloadOptions, by the guest's links and inside its root; not with a tar. An image of a
	// version that does not know it replaces the link.
	FollowTarget bool
	KeepOwner    bool // owners as they are here or in the tar; false: UID and GID
	UID          uint32
	GID          uint32
	MaxEntries   uint64 // 0: 200,000
}

func (o *UploadOptions) given(memory *arena) *C.mvm_upload_options {
	if o == nil {
		return nil
	}
	return &C.mvm_upload_options{
		struct_size:   C.sizeof_mvm_upload_options,
		follow_link:   boolOf(o.FollowLink),
		name:          memory.option("name", o.Name),
		follow_target: boolOf(o.FollowTarget),
		keep_owner:    boolOf(o.KeepOwner),
		uid:           C.uint32_t(o.UID),
		gid:           C.uint32_t(o.GID),
		max_entries:   C.uint64_t(o.MaxEntries),
	}
}

// TransferTotals is what was copied.
type TransferTotals struct {
	Entries uint64 // files, directories and links
	Bytes   uint64 // of the files
	Skipped uint64 // devices, fifos and sockets, which are not carried
}

func takeTotals(out *C.mvm_transfer_totals, err error) (*TransferTotals, error) {
	if err != nil {
		return nil, err
	}
	defer release(out)
	return &TransferTotals{uint64(out.entries), uint64(out.bytes), uint64(out.skipped)}, nil
}

// Download copies a file, or a directory with everything below it on the same file system, into a
// directory of the host that is there. Nothing is written outside of it, whatever the guest says;
// links are made and never followed; permissions and times are kept, set-id bits are not. What is
// in the way of a file or link is replaced, directories are merged. Holes stay holes, and hard links
// within the tree names of one file. Files that say no size (/proc, /sys) are read to their end, of
// 16 MiB at most. What came before an error stays. Errors: those of both file systems; ErrBusy when
// a file changes under the copy; ErrInvalidArgument when the path is of a device, fifo or socket.
func (vm *Vm) Download(ctx context.Context, path, directory string, options *DownloadOptions) (*TransferTotals, error) {
	memory := &arena{}
	cPath, cDirectory, given := memory.text("path", path), memory.text("directory", directory), options.given(memory)
	var out *C.mvm_transfer_totals
	err := callOnThread(ctx, vm, "download", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_download(vm.handle, cPath, cDirectory, given, limits, &out, err)
	})
	return takeTotals(out, err)
}

// DownloadTar makes a tar (pax) of the same, everything kept; KeepOwner does not matter. An error of
// the Writer ends the call and is what it returns.
func (vm *Vm) DownloadTar(ctx context.Context, path string, tar io.Writer, options *DownloadOptions) (*TransferTotals, error) {
	memory, back := &arena{}, &callbacks{sink: tar}
	cPath, user, given := memory.text("path", path), memory.user(back), options.given(memory)
	var out *C.mvm_transfer_totals
	err := callWith(ctx, vm, "download", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_download_tar(vm.handle, cPath, C.mvm_data_sink(C.libmicrovm_go_sink), user, given, limits, &out, err)
	})
	return takeTotals(out, err)
}

// Upload copies a file or directory of the host into a directory of the guest, which is made (0755,
// root) when there is none. Directories that are there keep mode and owner, files and links are
// replaced, each in one step. directory has no ".." in it. Holes, hard links, sizes and errors as
// with Download.
func (vm *Vm) Upload(ctx context.Context, path, directory string, options *UploadOptions) (*TransferTotals, error) {
	memory := &arena{}
	cPath, cDirectory, given := memory.text("path", path), memory.text("directory", directory), options.given(memory)
	var out *C.mvm_transfer_totals
	err := callOnThread(ctx, vm, "upload", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_upload(vm.handle, cPath, cDirectory, given, limits, &out, err)
	})
	return takeTotals(out, err)
}

// UploadTar does the same from a tar, compressed or not. ErrCorrupt. An error of the Reader ends the
// call and is what it returns.
func (vm *Vm) UploadTar(ctx context.Context, tar io.Reader, directory string, options *UploadOptions) (*TransferTotals, error) {
	memory, back := &arena{}, &callbacks{source: tar}
	cDirectory, user, given := memory.text("directory", directory), memory.user(back), options.given(memory)
	var out *C.mvm_transfer_totals
	err := callWith(ctx, vm, "upload", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_upload_tar(vm.handle, C.mvm_data_source(C.libmicrovm_go_source), user, cDirectory, given, limits, &out, err)
	})
	return takeTotals(out, err)
}
