module bench

go 1.19

require libmicrovm.dev/go v0.0.0

replace libmicrovm.dev/go => ../../../bindings/go
