// The functions of callback.go as microvm.h declares them.
#pragma once

#include <microvm.h>

void libmicrovm_go_progress(void* user, const mvm_progress* progress);
int32_t libmicrovm_go_sink(void* user, const void* data, size_t size);
int64_t libmicrovm_go_source(void* user, void* buffer, size_t capacity);
void libmicrovm_go_log(void* user, const char* line);
void libmicrovm_go_event(void* user, const mvm_vm_event* event);
void libmicrovm_go_release(void* user);
