package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"time"
)

// NetworkMode is what a Vm's network device is connected to.
type NetworkMode int32

const (
	NetworkAutomatic NetworkMode = C.MVM_NETWORK_AUTOMATIC // NetworkUser where the image has a network device, else NetworkNone
	NetworkNone      NetworkMode = C.MVM_NETWORK_NONE      // the guest's link is down
	NetworkUser      NetworkMode = C.MVM_NETWORK_USER      // each Vm in a network of its own, made anew from this host; no root
	NetworkTap       NetworkMode = C.MVM_NETWORK_TAP       // a tap of yours; what is behind it is your word: no policy
)

func (m NetworkMode) String() string {
	return C.GoString(C.mvm_network_mode_name(C.mvm_network_mode(m)))
}

// NetworkDefault is for what no rule says anything about.
type NetworkDefault int32

const (
	// Allowed, but for loopback, the host itself, link-local, private, CGNAT, multicast.
	NetworkDefaultInternet NetworkDefault = C.MVM_NETWORK_DEFAULT_INTERNET
	NetworkDefaultAllow    NetworkDefault = C.MVM_NETWORK_DEFAULT_ALLOW
	NetworkDefaultDeny     NetworkDefault = C.MVM_NETWORK_DEFAULT_DENY
)

func (d NetworkDefault) String() string {
	return C.GoString(C.mvm_network_default_name(C.mvm_network_default(d)))
}

// NetworkPolicy is what a Vm may reach (NetworkUser). Its resolver works whatever the rules are.
//
// A rule is "allow|deny [tcp|udp|icmp] TARGET[:PORTS]", and the first that fits counts. TARGET:
// 192.0.2.0/24, 2001:db8::7, example.org, *.example.org (below it, not itself), *, and the words
// internet, private, loopback, link-local, host. PORTS: 443 or 80,443 or 8000-8100; behind an IPv6
// address only if that is in brackets. Domains are in their ASCII form (xn--…).
type NetworkPolicy struct {
	Otherwise      NetworkDefault
	Rules          []string // at most 1,024 of 512 bytes
	BytesPerSecond uint64   // both directions together; 0: no limit
	FlowsPerSecond uint32   // new ones; 0: no limit
	OpenFlows      uint32   // at a time, at most 16,384; 0: 1,024
}

func (p *NetworkPolicy) given(memory *arena) *C.mvm_network_policy {
	if p == nil {
		return nil
	}
	given := allocated[C.mvm_network_policy](memory)
	*given = C.mvm_network_policy{
		struct_size:      C.sizeof_mvm_network_policy,
		otherwise:        C.mvm_network_default(p.Otherwise),
		bytes_per_second: C.uint64_t(p.BytesPerSecond),
		flows_per_second: C.uint32_t(p.FlowsPerSecond),
		open_flows:       C.uint32_t(p.OpenFlows),
	}
	given.rules, given.rules_count = memory.texts("a network rule", p.Rules)
	return given
}

func networkPolicyOf(from *C.mvm_network_policy) NetworkPolicy {
	return NetworkPolicy{
		Otherwise:      NetworkDefault(from.otherwise),
		Rules:          goTexts(from.rules, from.rules_count),
		BytesPerSecond: uint64(from.bytes_per_second),
		FlowsPerSecond: uint32(from.flows_per_second),
		OpenFlows:      uint32(from.open_flows),
	}
}

// TapOptions is the tap of NetworkTap: one Vm's, so that a fork brings its own.
type TapOptions struct {
	// One of both. FD (0: none): a tap with IFF_NO_PI and IFF_VNET_HDR, borrowed until the call
	// returns; it is gone with this process. Name: of a tap of the host that this process, and
	// whoever resumes the Vm, may open.
	FD   int
	Name string
	// Of the guest, with their prefix: "192.0.2.7/24", "2001:db8::7/64". None: the guest sees to it.
	Addresses []string
	Gateways  []string // one of a family
	DNS       []string // resolvers; none: the guest's resolv.conf stays
	MAC       string   // "02:00:5e:10:00:01"; empty: one of its own for each Vm
}

func (t *TapOptions) given(memory *arena) *C.mvm_tap_options {
	if t == nil {
		return nil
	}
	given := allocated[C.mvm_tap_options](memory)
	*given = C.mvm_tap_options{
		struct_size: C.sizeof_mvm_tap_options,
		fd:          C.int32_t(t.FD),
		name:        memory.option("the tap's name", t.Name),
		mac:         memory.option("the MAC", t.MAC),
	}
	given.addresses, given.addresses_count = memory.texts("an address", t.Addresses)
	given.gateways, given.gateways_count = memory.texts("a gateway", t.Gateways)
	given.dns, given.dns_count = memory.texts("a resolver", t.DNS)
	return given
}

// NetworkOptions of a start.
type NetworkOptions struct {
	Mode   NetworkMode
	Policy *NetworkPolicy // of NetworkUser; nil: the internet
	Tap    *TapOptions    // of NetworkTap
}

func (o *NetworkOptions) given(memory *arena) *C.mvm_network_options {
	if o == nil {
		return nil
	}
	given := allocated[C.mvm_network_options](memory)
	*given = C.mvm_network_options{
		struct_size: C.sizeof_mvm_network_options,
		mode:        C.mvm_network_mode(o.Mode),
		policy:      o.Policy.given(memory),
		tap:         o.Tap.given(memory),
	}
	return given
}

// NetworkCounters are, but for those of packets, of NetworkUser, since its network was started last,
// which the guest's first packet after a start or resume does.
type NetworkCounters struct {
	PacketsFromGuest    uint64 // of its device, since the start or resume
	PacketsToGuest      uint64
	PacketsDropped      uint64 // malformed, of another sender than the guest, or for no room
	BytesFromGuest      uint64 // of flows
	BytesToGuest        uint64
	Flows               uint64 // that were let through
	FlowsOpen           uint64
	FlowsRefusedByRule  uint64
	FlowsRefusedByLimit uint64
	FlowsFailed         uint64 // the destination could not be reached
	DNSQueries          uint64
	DNSFailed           uint64 // no answer in time, or none that could be used
}

func networkCountersOf(from *C.mvm_network_counters) NetworkCounters {
	return NetworkCounters{
		PacketsFromGuest:    uint64(from.packets_from_guest),
		PacketsToGuest:      uint64(from.packets_to_guest),
		PacketsDropped:      uint64(from.packets_dropped),
		BytesFromGuest:      uint64(from.bytes_from_guest),
		BytesToGuest:        uint64(from.bytes_to_guest),
		Flows:               uint64(from.flows),
		FlowsOpen:           uint64(from.flows_open),
		FlowsRefusedByRule:  uint64(from.flows_refused_by_rule),
		FlowsRefusedByLimit: uint64(from.flows_refused_by_limit),
		FlowsFailed:         uint64(from.flows_failed),
		DNSQueries:          uint64(from.dns_queries),
		DNSFailed:           uint64(from.dns_failed),
	}
}

// NetworkInfo is what a Vm's network is, and what went through it.
type NetworkInfo struct {
	Mode     NetworkMode // never NetworkAutomatic
	Policy   NetworkPolicy
	Tap      string // its name
	MAC      string // of NetworkTap
	Running  bool   // its microvm-net, which the guest's first packet starts
	Counters NetworkCounters
}

// Network wakes nothing. Gives up after 10 s.
func (vm *Vm) Network(ctx context.Context) (*NetworkInfo, error) {
	var out *C.mvm_network_info
	err := call(ctx, vm, "read the network", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_network(vm.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	defer release(out)
	return &NetworkInfo{
		Mode:     NetworkMode(out.mode),
		Policy:   networkPolicyOf(out.policy),
		Tap:      C.GoString(out.tap),
		MAC:      C.GoString(out.mac),
		Running:  out.is_running != 0,
		Counters: networkCountersOf(out.counters),
	}, nil
}

// SetNetworkPolicy holds from now on and for later resumes, in place of the one before: flows that
// it forbids have ended when this returns. Wakes nothing. nil: the default. Errors:
// ErrInvalidArgument (a rule, with its place), ErrUnsupported (another mode than NetworkUser),
// ErrVmGone.
func (vm *Vm) SetNetworkPolicy(ctx context.Context, policy *NetworkPolicy) error {
	memory := &arena{}
	given := policy.given(memory)
	return call(ctx, vm, "set the network's policy", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_set_network_policy(vm.handle, given, limits, err)
	})
}

// FlowKind is what happened to a flow.
type FlowKind int32

const (
	FlowOpened  FlowKind = C.MVM_FLOW_OPENED
	FlowEnded   FlowKind = C.MVM_FLOW_ENDED
	FlowRefused FlowKind = C.MVM_FLOW_REFUSED // Reason is the rule, or the limit
	FlowFailed  FlowKind = C.MVM_FLOW_FAILED  // Reason is what went wrong
	FlowName    FlowKind = C.MVM_FLOW_NAME    // the guest asked for Name
)

func (k FlowKind) String() string { return C.GoString(C.mvm_flow_kind_name(C.mvm_flow_kind(k))) }

// FlowRecord is what happened to a flow, or to a name that was asked for.
type FlowRecord struct {
	Time           time.Time
	Kind           FlowKind
	Protocol       string // "tcp", "udp", "icmp"
	Address        string // where to
	Port           uint16
	Name           string // by which the guest knows the address; printable, the guest's word
	Reason         string // FlowOpened: the rule that allowed it; empty: the default
	BytesFromGuest uint64 // of one that ended
	BytesToGuest   uint64
	Lost           uint64 // records before this one that a slow reader missed
}

func flowRecordOf(from *C.mvm_flow_record) *FlowRecord {
	return &FlowRecord{
		Time:           goTime(from.time),
		Kind:           FlowKind(from.kind),
		Protocol:       C.GoString(from.protocol),
		Address:        C.GoString(from.address),
		Port:           uint16(from.port),
		Name:           C.GoString(from.name),
		Reason:         C.GoString(from.reason),
		BytesFromGuest: uint64(from.bytes_from_guest),
		BytesToGuest:   uint64(from.bytes_to_guest),
		Lost:           uint64(from.lost),
	}
}

// FlowStream tells the flows of a Vm from now on, over suspend and resume, until it ends. It wakes
// nothing. One goroutine at a time; at most 8 follow one Vm. Who falls some 200 KiB behind misses
// records, and is told how many.
type FlowStream struct {
	handle *C.mvm_flow_stream
	vm     *Vm
	in     *waiter
}

// Flows opens a stream of them. ErrUnsupported: another mode than NetworkUser.
func (vm *Vm) Flows(ctx context.Context) (*FlowStream, error) {
	var out *C.mvm_flow_stream
	err := call(ctx, vm, "read the flows", &arena{}, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_flows(vm.handle, limits, &out, err)
	})
	if err != nil {
		return nil, err
	}
	s := &FlowStream{handle: out, vm: vm}
	s.in = newStream("read the flows", syscall.EPOLLIN, func(fd *C.int32_t, err **C.mvm_error) C.mvm_status {
		return C.mvm_flow_stream_fd(out, fd, err)
	})
	closeForgotten(s)
	return s, nil
}

// Next waits for the next record. io.EOF: the Vm has ended. Errors: ErrBusy (too many follow it),
// ErrProtocol.
func (s *FlowStream) Next(ctx context.Context) (*FlowRecord, error) {
	var out *C.mvm_flow_record
	err := s.in.take(ctx, s, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_flow_stream_try_next(s.handle, &out, err)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, io.EOF
	}
	defer release(out)
	return flowRecordOf(out), nil
}

// Close ends the stream, and a Next that waits.
func (s *FlowStream) Close() error {
	if s.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(s, nil)
	s.in.close()
	C.mvm_flow_stream_free(s.handle)
	return nil
}
