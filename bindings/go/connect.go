package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"net"
	"os"
	"strconv"
)

// Connect opens a byte stream to a TCP port on the guest's loopback. It waits on Go's netpoller and
// has deadlines; CloseWrite, of the *net.UnixConn in it, is there too. ErrConnectionRefused: nothing
// listens there.
func (vm *Vm) Connect(ctx context.Context, port uint16) (net.Conn, error) {
	fd := C.int32_t(-1)
	err := call(ctx, vm, "connect", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_connect(vm.handle, C.uint32_t(port), limits, &fd, err)
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "microvm port")
	defer file.Close() // net.FileConn has one of its own
	stream, err := net.FileConn(file)
	if err != nil {
		return nil, &Error{Code: ErrIO, Message: "connect: " + err.Error()}
	}
	socket, ok := stream.(*net.UnixConn)
	if !ok {
		stream.Close()
		return nil, &Error{Code: ErrInternal, Message: "connect: not a unix socket"}
	}
	return &conn{UnixConn: socket, peer: portAddr{vm.id, port}}, nil
}

// DialContext is for http.Transport and whatever else dials: the port of the address counts, its
// host does not. network is "tcp", "tcp4" or "tcp6".
func (vm *Vm) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, dialError(network, address, "only tcp reaches a vm's ports")
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, dialError(network, address, err.Error())
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, dialError(network, address, "the port must be a number to 65535")
	}
	return vm.Connect(ctx, uint16(port))
}

func dialError(network, address, why string) error {
	return &Error{Code: ErrInvalidArgument, Message: "dial " + network + " " + address + ": " + why}
}

type conn struct {
	*net.UnixConn
	peer portAddr
}

func (c *conn) RemoteAddr() net.Addr { return c.peer }

type portAddr struct {
	vm   string
	port uint16
}

func (a portAddr) Network() string { return "microvm" }
func (a portAddr) String() string  { return net.JoinHostPort(a.vm, strconv.Itoa(int(a.port))) }
