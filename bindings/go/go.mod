module libmicrovm.dev/go

go 1.19
