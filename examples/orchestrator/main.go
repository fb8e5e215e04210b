// Command orchestrator gives each user a microVM: taken warm from a pool at the first request,
// suspended when idle, resumed by the next request.
//
//	orchestrator -listen 127.0.0.1:8000 counter
//	curl -H "X-User: ann" http://127.0.0.1:8000/
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/signal"
	"sync"
	"syscall"
	"time"

	microvm "libmicrovm.dev/go"
)

type pool struct {
	warm  chan *microvm.Vm // started, nobody's yet
	mutex sync.Mutex
	users map[string]*microvm.Vm
}

func (p *pool) fill(ctx context.Context, rt *microvm.Runtime, image string, options *microvm.RunOptions) {
	for ctx.Err() == nil {
		vm, err := rt.Run(ctx, image, options)
		if err != nil {
			log.Print(err)
			time.Sleep(time.Second)
		} else {
			p.warm <- vm
		}
	}
}

func (p *pool) vmOf(ctx context.Context, user string) (*microvm.Vm, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if vm := p.users[user]; vm != nil {
		return vm, nil
	}
	select {
	case vm := <-p.warm:
		p.users[user] = vm
		return vm, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get("X-User") // where a real one looks at a session
	vm, err := p.vmOf(r.Context(), user)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("X-Microvm", vm.ID())
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "vm:8080"})
	// Dialing wakes a Vm that sleeps; a connection that is kept does not keep it awake.
	proxy.Transport = &http.Transport{DialContext: vm.DialContext, DisableKeepAlives: true}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		if errors.Is(err, microvm.ErrVmGone) { // the next request gets another
			p.mutex.Lock()
			delete(p.users, user)
			p.mutex.Unlock()
		}
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
	proxy.ServeHTTP(w, r)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "where to serve")
	warm := flag.Int("warm", 2, "microVMs kept ready")
	idle := flag.Duration("idle", time.Minute, "suspend after this long without a request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rt, err := microvm.Open(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	p := &pool{warm: make(chan *microvm.Vm, *warm), users: map[string]*microvm.Vm{}}
	go p.fill(ctx, rt, flag.Arg(0), &microvm.RunOptions{Idle: &microvm.IdlePolicy{IdleAfter: *idle}})
	fmt.Println("listening on", listener.Addr())
	go func() { log.Print(http.Serve(listener, p)) }()
	<-ctx.Done() // its microVMs die with this process
}
