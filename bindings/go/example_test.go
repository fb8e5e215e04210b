package microvm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	microvm "libmicrovm.dev/go"
)

func Example() {
	ctx := context.Background()
	rt, err := microvm.Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	_, err = rt.Build(ctx, &microvm.BuildOptions{Context: "examples/apps/counter", Tag: "counter"})
	if err != nil {
		log.Fatal(err)
	}
	vm, err := rt.Run(ctx, "counter", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer vm.Terminate(ctx)
	out, err := vm.Command(ctx, "uname", "-a").Output()
	fmt.Printf("%s %v\n", out, err)
}

func ExampleError() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	rt, err := microvm.Open(ctx, &microvm.RuntimeOptions{DataDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()

	_, err = rt.Run(ctx, "no-such-image", nil)
	fmt.Println(errors.Is(err, microvm.ErrNotFound), errors.Is(err, os.ErrNotExist))
	var failed *microvm.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Code)
	}
	// Output:
	// true true
	// not_found
}

func ExampleVm_Command() {
	var vm *microvm.Vm // of Runtime.Run
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := vm.Command(ctx, "sort")
	cmd.Stdin = strings.NewReader("b\na\n")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	var exit *microvm.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		fmt.Println("it failed with", exit.Code)
	}
}

func ExampleVm_DialContext() {
	var vm *microvm.Vm // of Runtime.Run
	client := &http.Client{Transport: &http.Transport{DialContext: vm.DialContext}}
	response, err := client.Get("http://vm:8080/") // the host's name does not matter
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
}

func ExampleVm_Pty() {
	var vm *microvm.Vm // of Runtime.Run
	ctx := context.Background()
	pty, err := vm.Pty(ctx, &microvm.PtyOptions{Size: microvm.PtySize{Rows: 40, Columns: 120}})
	if err != nil {
		log.Fatal(err)
	}
	defer pty.Close()
	stream := pty.Stream(ctx)
	go io.Copy(stream, os.Stdin)
	io.Copy(os.Stdout, stream)
}

func ExampleVm_Watch() {
	var vm *microvm.Vm // of Runtime.Run
	ctx := context.Background()
	watch, err := vm.Watch(ctx, "/srv", &microvm.WatchOptions{Recursive: true})
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Close()
	for {
		event, err := watch.Next(ctx)
		if err == io.EOF {
			break // /srv itself is gone
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v %q\n", event.Kind, event.Path)
	}
}

func ExampleVm_WriteFile() {
	var vm *microvm.Vm // of Runtime.Run
	err := vm.WriteFile(context.Background(), "/etc/secret", []byte("hush"), &microvm.WriteFileOptions{Mode: microvm.Mode(0o600)})
	if errors.Is(err, microvm.ErrOutOfDisk) {
		fmt.Println("the guest's disk is full")
	}
}

func ExampleVm_Fork() {
	var vm *microvm.Vm // of Runtime.Run
	ctx := context.Background()
	forks, err := vm.Fork(ctx, &microvm.ForkOptions{Count: 100})
	if err != nil {
		log.Fatal(err)
	}
	for _, fork := range forks {
		defer fork.Close() // ends it: it dies with its owner
	}
}

func ExampleRuntime_Build() {
	var rt *microvm.Runtime // of Open
	image, err := rt.Build(context.Background(), &microvm.BuildOptions{
		Context:   "app",
		Tag:       "app",
		BuildArgs: map[string]string{"VERSION": "3"},
		Progress: func(p microvm.Progress) {
			fmt.Println(p.Step)
			os.Stdout.Write(p.Output)
		},
	})
	if errors.Is(err, microvm.ErrBuildFailed) {
		log.Fatal(err) // has the failed step's last output
	}
	fmt.Println(image.Name, image.Version)
}

func ExampleRuntime_Events() {
	var rt *microvm.Runtime // of Open
	ctx := context.Background()
	events, err := rt.Events(ctx, &microvm.EventOptions{Follow: true})
	if err != nil {
		log.Fatal(err)
	}
	defer events.Close()
	for {
		event, err := events.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Time, event.VmID, event.Kind, event.Cause)
	}
}
