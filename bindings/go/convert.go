package microvm

// #include <microvm.h>
import "C"

import "time"

// Times of the library are RFC 3339, UTC; of what an older version has not told, empty.
func goTime(text *C.char) time.Time {
	t, err := time.Parse(time.RFC3339Nano, C.GoString(text))
	if err != nil {
		return time.Time{}
	}
	return t
}

func microseconds(us C.uint64_t) time.Duration { return time.Duration(us) * time.Microsecond }

func goMilliseconds(ms C.int64_t) time.Duration { return time.Duration(ms) * time.Millisecond }

// milliseconds rounds up: a short time is not none, which 0 means.
func milliseconds(d time.Duration) C.int64_t {
	if d <= 0 {
		return C.int64_t(d / time.Millisecond)
	}
	return C.int64_t((d-1)/time.Millisecond + 1)
}
