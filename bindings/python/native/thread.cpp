#include "thread.hpp"

#include <pthread.h>
#include <signal.h>

namespace microvm::python {

bool start_thread(const char* name, void* (*body)(void*), void* argument) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const int status = ::pthread_create(&thread, nullptr, body, argument);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (status != 0) return false;
  ::pthread_setname_np(thread, name);
  ::pthread_detach(thread);
  return true;
}

}  // namespace microvm::python
