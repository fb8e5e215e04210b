package microvm

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"io/fs"
	"time"
	"unsafe"
)

// FileInfo is what is known of a file of the guest. Names are bytes as the guest says: escape them
// before showing them.
type FileInfo struct {
	Name       string      // in its directory; of StatFile: the path as given
	Mode       fs.FileMode // with its type
	UID        uint32
	GID        uint32
	Size       int64
	ModTime    time.Time
	LinkTarget string // of a symlink
}

func fileInfoOf(from *C.mvm_file_info) FileInfo {
	return FileInfo{
		Name:       C.GoString(from.name),
		Mode:       typeOf(from._type) | modeOf(uint32(from.mode)),
		UID:        uint32(from.uid),
		GID:        uint32(from.gid),
		Size:       int64(from.size_bytes),
		ModTime:    time.Unix(0, int64(from.mtime_ns)),
		LinkTarget: C.GoString(from.link_target),
	}
}

func typeOf(kind C.mvm_file_type) fs.FileMode {
	switch kind {
	case C.MVM_FILE_REGULAR:
		return 0
	case C.MVM_FILE_DIRECTORY:
		return fs.ModeDir
	case C.MVM_FILE_SYMLINK:
		return fs.ModeSymlink
	case C.MVM_FILE_FIFO:
		return fs.ModeNamedPipe
	case C.MVM_FILE_SOCKET:
		return fs.ModeSocket
	case C.MVM_FILE_CHARACTER_DEVICE:
		return fs.ModeDevice | fs.ModeCharDevice
	case C.MVM_FILE_BLOCK_DEVICE:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}

// Bits of a Unix mode that fs.FileMode has elsewhere.
var specialBits = []struct {
	unix uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func modeOf(unix uint32) fs.FileMode {
	mode := fs.FileMode(unix & 0o777)
	for _, bit := range specialBits {
		if unix&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	return mode
}

// givenMode is a mode for the guest; nil: none.
func givenMode(memory *arena, mode *fs.FileMode) (has C.mvm_bool, unix C.uint32_t) {
	if mode == nil {
		return 0, 0
	}
	rest, bits := *mode, uint32(mode.Perm())
	for _, bit := range specialBits {
		if rest&bit.mode != 0 {
			bits |= bit.unix
			rest &^= bit.mode
		}
	}
	if rest != rest.Perm() {
		memory.fail("mode " + mode.String() + ": only permissions, set-id bits and the sticky bit")
	}
	return 1, C.uint32_t(bits)
}

// Mode is for options that have one: &WriteFileOptions{Mode: Mode(0o600)}.
func Mode(mode fs.FileMode) *fs.FileMode { return &mode }

// ReadFileOptions of Vm.ReadFile and ReadFileTo; nil: the zero value.
type ReadFileOptions struct {
	Offset   uint64
	Length   uint64 // at most; 0: to the end
	MaxBytes uint64 // more than that is an error, and not a cut; 0: 64 MiB
}

func (o *ReadFileOptions) given() *C.mvm_read_file_options {
	if o == nil {
		return nil
	}
	return &C.mvm_read_file_options{
		struct_size: C.sizeof_mvm_read_file_options, offset: C.uint64_t(o.Offset),
		length: C.uint64_t(o.Length), max_bytes: C.uint64_t(o.MaxBytes),
	}
}

// ReadFile returns a file's content. As all calls for files it acts as the guest's root on an
// absolute path, which is resolved inside the guest, by its own rules. Errors of all of them:
// ErrNotFound, ErrPermissionDenied, ErrInvalidArgument (also: a directory where a file is needed and
// the other way round), ErrIO; ErrVmGone, ErrDeadlineExceeded (also: a guest that is silent for two
// minutes). A call whose Vm is suspended or rolled back under it wakes the Vm and begins again; a
// change that was done by then is not done twice. ErrVmSuspended: where that can not be.
func (vm *Vm) ReadFile(ctx context.Context, path string, options *ReadFileOptions) ([]byte, error) {
	memory := &arena{}
	cPath, given := memory.text("path", path), options.given()
	var out *C.mvm_bytes
	err := call(ctx, vm, "read a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_read_file(vm.handle, cPath, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return goBytes(out.data, out.size), nil
}

// ReadFileTo copies a file's content. An error of the Writer ends the call and is what it returns.
func (vm *Vm) ReadFileTo(ctx context.Context, path string, to io.Writer, options *ReadFileOptions) (*FileInfo, error) {
	memory, back := &arena{}, &callbacks{sink: to}
	cPath, user, given := memory.text("path", path), memory.user(back), options.given()
	var out *C.mvm_file_info
	err := callWith(ctx, vm, "read a file", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_read_file_to(vm.handle, cPath, C.mvm_data_sink(C.libmicrovm_go_sink), user, given, limits, &out, err)
	})
	return takeFileInfo(out, err)
}

func takeFileInfo(out *C.mvm_file_info, err error) (*FileInfo, error) {
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := fileInfoOf(out)
	return &info, nil
}

// WriteFileOptions of Vm.WriteFile, WriteFileFrom and AppendFile; nil: the zero value.
type WriteFileOptions struct {
	Mode      *fs.FileMode // nil: as it is, or 0644 for a new one; see Mode()
	Owner     string       // "name", "uid", "name:group" or "uid:gid" of the guest; empty: as it is, or root
	NoReplace bool         // ErrAlreadyExists when there is one
}

func (o *WriteFileOptions) given(memory *arena) *C.mvm_write_file_options {
	if o == nil {
		return nil
	}
	given := &C.mvm_write_file_options{
		struct_size: C.sizeof_mvm_write_file_options,
		no_replace:  boolOf(o.NoReplace),
		owner:       memory.option("owner", o.Owner),
	}
	given.has_mode, given.mode = givenMode(memory, o.Mode)
	return given
}

// WriteFile gives a file its whole content, in one step: programs see the old or the new file, and
// after an error the old one. A link at the end is followed; other names of the file (hard links)
// keep the old content. Errors: ErrAlreadyExists, ErrOutOfDisk.
func (vm *Vm) WriteFile(ctx context.Context, path string, content []byte, options *WriteFileOptions) error {
	memory := &arena{}
	cPath, given := memory.text("path", path), options.given(memory)
	size := C.size_t(len(content))
	content = notEmpty(content)
	return call(ctx, vm, "write a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_write_file(vm.handle, cPath, unsafe.Pointer(&content[0]), size, given, limits, err)
	})
}

// notEmpty has an address.
func notEmpty(content []byte) []byte {
	if len(content) == 0 {
		return make([]byte, 1)
	}
	return content
}

// WriteFileFrom does the same with what is read, to io.EOF. An error of the Reader ends the call and
// is what it returns.
func (vm *Vm) WriteFileFrom(ctx context.Context, path string, from io.Reader, options *WriteFileOptions) error {
	memory, back := &arena{}, &callbacks{source: from}
	cPath, user, given := memory.text("path", path), memory.user(back), options.given(memory)
	return callWith(ctx, vm, "write a file", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_write_file_from(vm.handle, cPath, C.mvm_data_source(C.libmicrovm_go_source), user, given, limits, err)
	})
}

// AppendFile writes at the end of the file, which is made when there is none; Mode and Owner count
// for a new one only. What was written before an error stays.
func (vm *Vm) AppendFile(ctx context.Context, path string, content []byte, options *WriteFileOptions) error {
	memory := &arena{}
	cPath, given := memory.text("path", path), options.given(memory)
	size := C.size_t(len(content))
	content = notEmpty(content)
	return call(ctx, vm, "append to a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_append_file(vm.handle, cPath, unsafe.Pointer(&content[0]), size, given, limits, err)
	})
}

// StatFileOptions of Vm.StatFile; nil: the zero value.
type StatFileOptions struct {
	NoFollowLink bool // false: of a link at the end of the path what it leads to
}

// StatFile looks at a file.
func (vm *Vm) StatFile(ctx context.Context, path string, options *StatFileOptions) (*FileInfo, error) {
	memory := &arena{}
	cPath := memory.text("path", path)
	given := &C.mvm_stat_file_options{struct_size: C.sizeof_mvm_stat_file_options}
	if options != nil {
		given.no_follow_link = boolOf(options.NoFollowLink)
	}
	var out *C.mvm_file_info
	err := call(ctx, vm, "stat a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_stat_file(vm.handle, cPath, given, limits, &out, err)
	})
	return takeFileInfo(out, err)
}

// ListFilesOptions of Vm.ListFiles; nil: the zero value.
type ListFilesOptions struct {
	MaxEntries uint64 // more are an error, and not a cut; 0: 100,000
}

// ListFiles lists a directory, sorted by name, without "." and "..".
func (vm *Vm) ListFiles(ctx context.Context, path string, options *ListFilesOptions) ([]FileInfo, error) {
	memory := &arena{}
	cPath := memory.text("path", path)
	given := &C.mvm_list_files_options{struct_size: C.sizeof_mvm_list_files_options}
	if options != nil {
		given.max_entries = C.uint64_t(options.MaxEntries)
	}
	var out *C.mvm_file_list
	err := call(ctx, vm, "list files", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_list_files(vm.handle, cPath, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, fileInfoOf), nil
}

// MakeDirectoryOptions of Vm.MakeDirectory; nil: the zero value.
type MakeDirectoryOptions struct {
	Mode    *fs.FileMode // nil: 0755; see Mode()
	Owner   string       // as in WriteFileOptions; empty: root
	Parents bool         // missing ones too (0755, root), and one that exists is no error
}

// MakeDirectory makes one. ErrAlreadyExists.
func (vm *Vm) MakeDirectory(ctx context.Context, path string, options *MakeDirectoryOptions) error {
	if options == nil {
		options = &MakeDirectoryOptions{}
	}
	memory := &arena{}
	cPath := memory.text("path", path)
	given := &C.mvm_make_directory_options{
		struct_size: C.sizeof_mvm_make_directory_options,
		parents:     boolOf(options.Parents),
		owner:       memory.option("owner", options.Owner),
	}
	given.has_mode, given.mode = givenMode(memory, options.Mode)
	return call(ctx, vm, "make a directory", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_make_directory(vm.handle, cPath, given, limits, err)
	})
}

// RemoveFileOptions of Vm.RemoveFile; nil: the zero value.
type RemoveFileOptions struct {
	Recursive bool // false: a directory must be empty
}

// RemoveFile removes a file, directory or link: a link itself, never what it leads to.
func (vm *Vm) RemoveFile(ctx context.Context, path string, options *RemoveFileOptions) error {
	memory := &arena{}
	cPath := memory.text("path", path)
	given := &C.mvm_remove_file_options{struct_size: C.sizeof_mvm_remove_file_options}
	if options != nil {
		given.recursive = boolOf(options.Recursive)
	}
	return call(ctx, vm, "remove a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_remove_file(vm.handle, cPath, given, limits, err)
	})
}

// RenameFileOptions of Vm.RenameFile; nil: the zero value.
type RenameFileOptions struct {
	NoReplace bool // ErrAlreadyExists when there is something at the new path
}

// RenameFile gives a file or directory another path.
func (vm *Vm) RenameFile(ctx context.Context, path, newPath string, options *RenameFileOptions) error {
	memory := &arena{}
	cPath, cNewPath := memory.text("path", path), memory.text("new path", newPath)
	given := &C.mvm_rename_file_options{struct_size: C.sizeof_mvm_rename_file_options}
	if options != nil {
		given.no_replace = boolOf(options.NoReplace)
	}
	return call(ctx, vm, "rename a file", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_rename_file(vm.handle, cPath, cNewPath, given, limits, err)
	})
}
