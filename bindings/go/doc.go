// Package microvm runs isolated, stateful Linux microVMs on this host, without a daemon: images built
// from a Dockerfile, microVMs launched in milliseconds from the snapshot of an initialised app, exec,
// terminals, files, ports, suspend and resume, fork and checkpoint.
//
//	rt, err := microvm.Open(ctx, nil)
//	image, err := rt.Build(ctx, &microvm.BuildOptions{Context: "examples/apps/counter", Tag: "counter"})
//	vm, err := rt.Run(ctx, "counter", nil)
//	out, err := vm.Command(ctx, "uname", "-a").Output()
//	client := &http.Client{Transport: &http.Transport{DialContext: vm.DialContext}}
//	response, err := client.Get("http://vm:8080/")
//
// It is libmicrovm.so by cgo. The words are those of the C++ headers, which say more at length.
//
// # Contexts
//
// Every call that may wait takes a context first. When that is done the call returns as soon as it
// can leave nothing behind, with an error that is both ErrCancelled or ErrDeadlineExceeded and the
// context's own. The context is of the call: what the call returned lives on until it is closed. Only
// Command's is of the program, as that of exec.CommandContext.
//
// # Errors
//
// All are *Error: a code to decide by, and one line for people.
//
//	if errors.Is(err, microvm.ErrNotFound) { … }
//
// # Options
//
// nil is the zero value, and the zero value of each field is its default.
//
// # Closing
//
// Everything that has a Close is to be closed; the garbage collector does it for what was forgotten,
// some time. A second Close does nothing, and other calls of what was closed are ErrInvalidArgument.
//
// # Goroutines and threads
//
// Streams (Exec, Pty, Watch, LogStream, EventStream, connections), Run and Wait wait on Go's
// netpoller: a thousand of them hold no thread. Other calls hold one as long as they are in the
// library; twelve at a time do, the others wait for their turn. Those that have no bound in time or
// that call what they were given (Build, imports, Prune, copies of files and trees, WaitExec) have a
// thread each.
//
// # Callbacks
//
// A panic in a function, Reader or Writer that a call was given ends the call and goes on in its
// caller. The library can be used afterwards.
package microvm
