// What libstdc++ would throw, and how memory is had, in a program without exceptions. Only linked
// into the agent itself: it keeps the unwinder and the demangler (half a megabyte) out of every
// guest. Sizes are bounded before anything is allocated, so none of these is reached by input.
#include <cstdlib>
#include <new>

namespace std {

[[noreturn]] void __throw_length_error(const char*) {
  abort();
}
[[noreturn]] void __throw_logic_error(const char*) {
  abort();
}
[[noreturn]] void __throw_out_of_range_fmt(const char*, ...) {
  abort();
}
[[noreturn]] void __throw_bad_alloc() {
  abort();
}
[[noreturn]] void __throw_bad_array_new_length() {
  abort();
}

}  // namespace std

// Of a class whose object is being made or destroyed: never happens.
extern "C" [[noreturn]] void __cxa_pure_virtual() {
  abort();
}

// Not inlined, where files are compiled together: free() of what new gave looks wrong to the
// compiler.
void* operator new(size_t size) {
  void* memory = malloc(size == 0 ? 1 : size);
  if (memory == nullptr) abort();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  free(memory);
}
void* operator new[](size_t size) {
  return operator new(size);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept {
  free(memory);
}
