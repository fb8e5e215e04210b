package microvm

// #include "bridge.h"
import "C"

import (
	"context"
	"sort"
	"time"
	"unsafe"
)

// KernelInfo is an imported kernel.
type KernelInfo struct {
	Name      string // "6.12.117+deb12-cloud-amd64"
	Digest    string // sha256 of the vmlinux, hex
	SizeBytes uint64
}

func kernelInfoOf(from *C.mvm_kernel_info) KernelInfo {
	return KernelInfo{C.GoString(from.name), C.GoString(from.digest), uint64(from.size_bytes)}
}

// BaseInfo is a root file system imported from a tar: what FROM names.
type BaseInfo struct {
	Name      string // "debian:bookworm"
	Digest    string // sha256 of the ext4 file, hex
	SizeBytes uint64
}

func baseInfoOf(from *C.mvm_base_info) BaseInfo {
	return BaseInfo{C.GoString(from.name), C.GoString(from.digest), uint64(from.size_bytes)}
}

// ImageConfig is what runs when a Vm starts and how, from the Dockerfile's ENV, USER, CMD and so
// on; the hooks are the build's.
type ImageConfig struct {
	Entrypoint   []string
	Cmd          []string
	Env          []string // "NAME=value"
	Workdir      string
	User         string
	ExposedPorts []uint16 // TCP
	Labels       map[string]string
	StopSignal   string
	Hooks        Hooks
}

func imageConfigOf(from *C.mvm_image_config) ImageConfig {
	config := ImageConfig{
		Entrypoint: goTexts(from.entrypoint, from.entrypoint_count),
		Cmd:        goTexts(from.cmd, from.cmd_count),
		Env:        goTexts(from.env, from.env_count),
		Workdir:    C.GoString(from.workdir),
		User:       C.GoString(from.user),
		Labels:     goTextMap(from.labels, from.labels_count),
		StopSignal: C.GoString(from.stop_signal),
		Hooks:      hooksOf(from.hooks),
	}
	for _, port := range unsafe.Slice(from.exposed_ports, int(from.exposed_ports_count)) {
		config.ExposedPorts = append(config.ExposedPorts, uint16(port))
	}
	return config
}

func goTextMap(items *C.mvm_key_value, count C.size_t) map[string]string {
	texts := make(map[string]string, int(count))
	for _, item := range unsafe.Slice(items, int(count)) {
		texts[C.GoString(item.key)] = C.GoString(item.value)
	}
	return texts
}

// ImageInfo is one version of an image.
type ImageInfo struct {
	Name            string // "counter"
	Version         string // "1", "2", …: the newest is what a bare name means
	Created         time.Time
	Base            string // name of the base image
	Kernel          string // name of the kernel
	MemoryBytes     uint64
	VCPUs           uint32
	MemoryDataBytes uint64        // of the memory snapshot, not holes
	DiskDataBytes   uint64        // of the image's own disk layers
	Boot            time.Duration // cold boot of the build: power-on → agent ready
	// Its command runs in its microVMs, which end with it. False: it has none, or one that had ended
	// with success when the snapshot was to be made; its microVMs live until they are ended.
	HasApp bool
	Config ImageConfig
}

func imageInfoOf(from *C.mvm_image_info) ImageInfo {
	return ImageInfo{
		Name:            C.GoString(from.name),
		Version:         C.GoString(from.version),
		Created:         goTime(from.created),
		Base:            C.GoString(from.base),
		Kernel:          C.GoString(from.kernel),
		MemoryBytes:     uint64(from.memory_bytes),
		VCPUs:           uint32(from.vcpus),
		MemoryDataBytes: uint64(from.memory_data_bytes),
		DiskDataBytes:   uint64(from.disk_data_bytes),
		Boot:            time.Duration(from.boot_ms) * time.Millisecond,
		HasApp:          from.has_app != 0,
		Config:          imageConfigOf(from.config),
	}
}

// ImportBaseOptions of Runtime.ImportBase; nil: the zero value.
type ImportBaseOptions struct {
	// The root disk as the guest sees it, of this base and of every image on it; the file is sparse.
	// It also bounds how many files there can be: one for each 16 KiB. A multiple of 4096 from 16 MiB
	// to 4 TiB; 0: 8 GiB. ErrInvalidArgument: also when the tar does not fit.
	DiskBytes uint64
	Progress  func(Progress) // Done and Total in bytes of the tar file
}

// PackOptions of Runtime.PackImage and UnpackImage; nil: the zero value.
type PackOptions struct {
	Progress func(Progress) // Done and Total in bytes of the memory snapshot
}

// BuildOptions of Runtime.Build.
type BuildOptions struct {
	Context     string // directory
	Dockerfile  string // empty: Context/Dockerfile
	Tag         string // "name"; the version is assigned
	BuildArgs   map[string]string
	Kernel      string // empty: the newest imported one
	MemoryBytes uint64 // 0: 512 MiB
	VCPUs       uint32 // 0: 1
	// The app is ready when something listens on this port; 0: the first EXPOSE, or, without one, as
	// soon as the command waits for something. With a ready hook that decides, in its own time.
	// Without port and hooks an image need not have an app (ImageInfo.HasApp).
	ReadyPort    uint16
	ReadyTimeout time.Duration // 0: a minute
	Hooks        Hooks
	Progress     func(Progress)
	// Of RUN, of the app until the snapshot, and of the clone that tries it; nil: the internet, and
	// nothing of this host or its networks. RUN --network=none has none in any case. No tap.
	Network *NetworkOptions
	// RUN finds the proxy variables of this process, as if they had been given as build arguments. One
	// on this host or in a private network also needs a rule that allows it.
	HostProxy bool
}

func (o *BuildOptions) given(memory *arena) *C.mvm_build_options {
	var args []string
	for name, value := range o.BuildArgs {
		args = append(args, name+"="+value)
	}
	sort.Strings(args)
	given := &C.mvm_build_options{
		struct_size:      C.sizeof_mvm_build_options,
		vcpus:            C.uint32_t(o.VCPUs),
		context:          memory.option("context", o.Context),
		dockerfile:       memory.option("Dockerfile", o.Dockerfile),
		tag:              memory.option("tag", o.Tag),
		kernel:           memory.option("kernel", o.Kernel),
		memory_bytes:     C.uint64_t(o.MemoryBytes),
		ready_port:       C.uint32_t(o.ReadyPort),
		ready_timeout_ms: milliseconds(o.ReadyTimeout),
		hooks:            o.Hooks.given(memory),
		network:          o.Network.given(memory),
		host_proxy:       boolOf(o.HostProxy),
	}
	given.build_args, given.build_args_count = memory.texts("build argument", args)
	return given
}

// progressOf makes the callback of a call's options.
func progressOf(memory *arena, to func(Progress)) (*callbacks, C.mvm_progress_fn, unsafe.Pointer) {
	given := &callbacks{progress: to}
	if to == nil {
		return given, nil, nil
	}
	return given, C.mvm_progress_fn(C.libmicrovm_go_progress), memory.user(given)
}

// ImportKernel imports from a Debian linux-image .deb. Importing the same kernel again changes
// nothing.
func (r *Runtime) ImportKernel(ctx context.Context, deb string) (*KernelInfo, error) {
	memory := &arena{}
	path := memory.text("path", deb)
	var out *C.mvm_kernel_info
	err := callOnThread(ctx, r, "import a kernel", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_import_kernel(r.handle, path, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := kernelInfoOf(out)
	return &info, nil
}

// Kernels lists the imported ones.
func (r *Runtime) Kernels(ctx context.Context) ([]KernelInfo, error) {
	var out *C.mvm_kernel_list
	err := call(ctx, r, "kernels", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_kernels(r.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, kernelInfoOf), nil
}

func listOf[From, To any](items **From, count C.size_t, convert func(*From) To) []To {
	list := make([]To, 0, int(count))
	for _, item := range unsafe.Slice(items, int(count)) {
		list = append(list, convert(item))
	}
	return list
}

// RemoveKernel is ErrBusy while an image was built with it or is being built, and ErrCorrupt when
// an image can not be read, which may need it.
func (r *Runtime) RemoveKernel(ctx context.Context, nameOrDigest string) error {
	memory := &arena{}
	name := memory.text("name", nameOrDigest)
	return call(ctx, r, "remove a kernel", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_remove_kernel(r.handle, name, limits, err)
	})
}

// ImportBase imports from a tar (any usual compression) of a root file system.
func (r *Runtime) ImportBase(ctx context.Context, name, tar string, options *ImportBaseOptions) (*BaseInfo, error) {
	if options == nil {
		options = &ImportBaseOptions{}
	}
	memory := &arena{}
	cName, cTar := memory.text("name", name), memory.text("path", tar)
	given := &C.mvm_import_base_options{
		struct_size: C.sizeof_mvm_import_base_options, disk_bytes: C.uint64_t(options.DiskBytes),
	}
	var back *callbacks
	back, given.progress, given.progress_user = progressOf(memory, options.Progress)
	var out *C.mvm_base_info
	err := callWith(ctx, r, "import a base", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_import_base(r.handle, cName, cTar, given, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := baseInfoOf(out)
	return &info, nil
}

// Bases lists the imported ones.
func (r *Runtime) Bases(ctx context.Context) ([]BaseInfo, error) {
	var out *C.mvm_base_list
	err := call(ctx, r, "bases", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_bases(r.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, baseInfoOf), nil
}

// RemoveBase removes the content too, unless another name means the same. Errors: as for a kernel.
func (r *Runtime) RemoveBase(ctx context.Context, name string) error {
	memory := &arena{}
	cName := memory.text("name", name)
	return call(ctx, r, "remove a base", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_remove_base(r.handle, cName, limits, err)
	})
}

// Build runs a Dockerfile and makes the next version of an image.
func (r *Runtime) Build(ctx context.Context, options *BuildOptions) (*ImageInfo, error) {
	if options == nil {
		options = &BuildOptions{}
	}
	memory := &arena{}
	given := options.given(memory)
	var back *callbacks
	back, given.progress, given.progress_user = progressOf(memory, options.Progress)
	var out *C.mvm_image_info
	err := callWith(ctx, r, "build", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_build(r.handle, given, limits, &out, err)
	})
	return takeImage(out, err)
}

func takeImage(out *C.mvm_image_info, err error) (*ImageInfo, error) {
	if err != nil {
		return nil, err
	}
	defer release(out)
	info := imageInfoOf(out)
	return &info, nil
}

// Images lists all versions.
func (r *Runtime) Images(ctx context.Context) ([]ImageInfo, error) {
	var out *C.mvm_image_list
	err := call(ctx, r, "images", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_images(r.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return listOf(out.items, out.count, imageInfoOf), nil
}

// Image looks for "name" or "name:version".
func (r *Runtime) Image(ctx context.Context, reference string) (*ImageInfo, error) {
	memory := &arena{}
	cReference := memory.text("image", reference)
	var out *C.mvm_image_info
	err := call(ctx, r, "image", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_image(r.handle, cReference, limits, &out, err)
	})
	return takeImage(out, err)
}

// RemoveImage is ErrBusy while a Vm runs or sleeps on it, or a checkpoint needs it.
func (r *Runtime) RemoveImage(ctx context.Context, reference string) error {
	memory := &arena{}
	cReference := memory.text("image", reference)
	return call(ctx, r, "remove an image", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_remove_image(r.handle, cReference, limits, err)
	})
}

func (o *PackOptions) given(memory *arena) (*callbacks, *C.mvm_pack_options) {
	given := &C.mvm_pack_options{struct_size: C.sizeof_mvm_pack_options}
	if o == nil {
		return &callbacks{}, given
	}
	var back *callbacks
	back, given.progress, given.progress_user = progressOf(memory, o.Progress)
	return back, given
}

// PackImage brings an image to its at-rest form: memory as compressed frames, checked by digests. A
// packed image is refused by Run with a message that says so. After an error, of the context too,
// the image is as it was.
func (r *Runtime) PackImage(ctx context.Context, reference string, options *PackOptions) (*ImageInfo, error) {
	memory := &arena{}
	cReference := memory.text("image", reference)
	back, given := options.given(memory)
	var out *C.mvm_image_info
	err := callWith(ctx, r, "pack an image", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_pack_image(r.handle, cReference, given, limits, &out, err)
	})
	return takeImage(out, err)
}

// UnpackImage makes a packed image runnable again.
func (r *Runtime) UnpackImage(ctx context.Context, reference string, options *PackOptions) (*ImageInfo, error) {
	memory := &arena{}
	cReference := memory.text("image", reference)
	back, given := options.given(memory)
	var out *C.mvm_image_info
	err := callWith(ctx, r, "unpack an image", memory, back, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_unpack_image(r.handle, cReference, given, limits, &out, err)
	})
	return takeImage(out, err)
}

// Warm starts count workers shaped for the image now, so that the next Runs find them; what the
// context leaves missing is started beside the next Run.
func (r *Runtime) Warm(ctx context.Context, image string, count uint32) error {
	memory := &arena{}
	cImage := memory.text("image", image)
	return call(ctx, r, "warm", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_warm(r.handle, cImage, C.uint32_t(count), limits, err)
	})
}
