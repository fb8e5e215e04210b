package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"errors"
	"io/fs"
)

// ErrorCode is what a program decides by. Each is an error itself, for errors.Is:
//
//	if errors.Is(err, microvm.ErrNotFound) { … }
type ErrorCode uint32

const (
	ErrInvalidArgument   ErrorCode = 1  // the caller's input is wrong; the message names it
	ErrNotFound          ErrorCode = 2  // no such image, vm, kernel, file; also fs.ErrNotExist
	ErrAlreadyExists     ErrorCode = 3  // also fs.ErrExist
	ErrPermissionDenied  ErrorCode = 4  // the operating system refused; also fs.ErrPermission
	ErrUnsupported       ErrorCode = 5  // valid, but this host or version cannot do it
	ErrBusy              ErrorCode = 6  // the object is in a state that excludes the call
	ErrCancelled         ErrorCode = 7  // the context was cancelled; also context.Canceled then
	ErrDeadlineExceeded  ErrorCode = 8  // the context's (also context.DeadlineExceeded) or the library's
	ErrOutOfDisk         ErrorCode = 9  // ENOSPC, EDQUOT
	ErrOutOfMemory       ErrorCode = 10 //
	ErrCorrupt           ErrorCode = 11 // a snapshot, layer or manifest fails its checks
	ErrIncompatibleCPU   ErrorCode = 12 // the snapshot needs CPU features this host lacks
	ErrKVMUnavailable    ErrorCode = 13 // no /dev/kvm, or no permission to open it
	ErrKVMUnsuitable     ErrorCode = 14 // /dev/kvm opens but cannot run a stock kernel
	ErrBuildFailed       ErrorCode = 15 // a Dockerfile step failed; the message has its last output
	ErrSyntax            ErrorCode = 16 // Dockerfile or manifest syntax: file:line in the message
	ErrGuestFailed       ErrorCode = 17 // the guest panicked, hung or powered off when it should not have
	ErrVmGone            ErrorCode = 18 // the microVM or its worker has ended
	ErrConnectionRefused ErrorCode = 19 // nothing listens on that guest port
	ErrIO                ErrorCode = 20 // any other operating system error
	ErrProtocol          ErrorCode = 21 // a peer (worker, agent) broke the wire format
	ErrInternal          ErrorCode = 22 // a bug of the library
	ErrVmSuspended       ErrorCode = 23 // the Vm was suspended or rolled back under a stream

	errWouldBlock ErrorCode = 24 // never leaves the package: goroutines wait
)

// String is the code's name as the library has it: "not_found".
func (c ErrorCode) String() string { return C.GoString(C.mvm_error_code_name(C.mvm_status(-int32(c)))) }

func (c ErrorCode) Error() string { return c.String() }

// Error is what the calls of this package fail with.
type Error struct {
	Code    ErrorCode
	Message string // one line: what failed, why, and what to do where something can be done

	cause error // context.Canceled or context.DeadlineExceeded, where it was the context
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the context's error where the context ended the call.
func (e *Error) Unwrap() error { return e.cause }

// Is is for errors.Is: true for the error's ErrorCode, and for what the standard library calls it.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == ErrNotFound
	case fs.ErrExist:
		return e.Code == ErrAlreadyExists
	case fs.ErrPermission:
		return e.Code == ErrPermissionDenied
	}
	code, ok := target.(ErrorCode)
	return ok && code == e.Code
}

// Timeout makes it a timeout for those who ask as net.Error does.
func (e *Error) Timeout() bool { return e.Code == ErrDeadlineExceeded }

func contextError(what string, err error) error {
	code := ErrCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		code = ErrDeadlineExceeded
	}
	return &Error{Code: code, Message: what + ": " + err.Error(), cause: err}
}

func closedError(what string) error {
	return &Error{Code: ErrInvalidArgument, Message: what + ": it was closed"}
}

// takeError makes an error of what C gives, and frees it.
func takeError(status C.mvm_status, from *C.mvm_error) error {
	if status == C.MVM_OK {
		return nil
	}
	err := &Error{Code: ErrorCode(-status), Message: ErrorCode(-status).String()}
	if from != nil {
		err.Message = C.GoString(C.mvm_error_message(from))
		C.mvm_error_free(from)
	}
	return err
}
