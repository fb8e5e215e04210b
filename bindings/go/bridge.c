// cgo's exported functions know no const.
#include "bridge.h"

#include "_cgo_export.h"

void libmicrovm_go_progress(void* user, const mvm_progress* progress) {
  libmicrovmGoProgress(user, (mvm_progress*)progress);
}

int32_t libmicrovm_go_sink(void* user, const void* data, size_t size) {
  return libmicrovmGoSink(user, (void*)data, size);
}

int64_t libmicrovm_go_source(void* user, void* buffer, size_t capacity) {
  return libmicrovmGoSource(user, buffer, capacity);
}

void libmicrovm_go_log(void* user, const char* line) { libmicrovmGoLog(user, (char*)line); }

void libmicrovm_go_event(void* user, const mvm_vm_event* event) {
  libmicrovmGoEvent(user, (mvm_vm_event*)event);
}

void libmicrovm_go_release(void* user) { libmicrovmGoRelease(user); }
