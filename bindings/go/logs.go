package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
)

// LogSource is one of a Vm's logs.
type LogSource int32

const (
	AppLog    LogSource = C.MVM_LOG_APP
	KernelLog LogSource = C.MVM_LOG_KERNEL
)

// Logs returns the last bytes kept of a log, at most 256 KiB; of a Vm that sleeps or has ended too,
// and never wakes it. Gives up after 10 s. ErrIO: nothing was kept.
func (vm *Vm) Logs(ctx context.Context, source LogSource) ([]byte, error) {
	var out *C.mvm_bytes
	err := call(ctx, vm, "logs", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_logs(vm.handle, C.mvm_log_source(source), limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return goBytes(out.data, out.size), nil
}

// LogStream is what is kept of a log and what comes, each byte once and in order, until the Vm
// ends: over suspend, resume and rollback too, whoever asks for them. It wakes nothing. One
// goroutine at a time. One that falls more than 256 KiB behind misses what is not kept any more.
type LogStream struct {
	handle *C.mvm_log_stream
	vm     *Vm
	in     *waiter
}

// FollowLogs opens a stream of a log.
func (vm *Vm) FollowLogs(ctx context.Context, source LogSource) (*LogStream, error) {
	var out *C.mvm_log_stream
	err := call(ctx, vm, "follow logs", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_follow_logs(vm.handle, C.mvm_log_source(source), limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	s := &LogStream{handle: out, vm: vm}
	s.in = newStream("follow logs", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_log_stream_fd(out, fd, err)
	})
	closeForgotten(s)
	return s, nil
}

// Read waits for the next piece, bytes as the guest printed them. io.EOF: the Vm has ended and all
// was read. Errors: ErrIO (a Vm has ended and nothing was kept), ErrBusy (too many follow this log:
// read again later), ErrProtocol.
func (s *LogStream) Read(ctx context.Context) ([]byte, error) {
	var out *C.mvm_bytes
	err := s.in.take(ctx, s, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_log_stream_try_read(s.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	return goBytes(out.data, out.size), nil
}

// Reader is the log as the io package has streams, for bufio.Scanner and the like. It is used like
// the LogStream, and ends with the context.
func (s *LogStream) Reader(ctx context.Context) io.Reader { return &logReader{stream: s, ctx: ctx} }

type logReader struct {
	stream *LogStream
	ctx    context.Context
	rest   []byte
}

func (r *logReader) Read(to []byte) (int, error) {
	for len(r.rest) == 0 && len(to) > 0 {
		piece, err := r.stream.Read(r.ctx)
		if err != nil {
			return 0, err
		}
		r.rest = piece
	}
	n := copy(to, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the stream, and a Read that waits.
func (s *LogStream) Close() error {
	if s.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(s, nil)
	s.in.close()
	C.mvm_log_stream_free(s.handle)
	return nil
}
