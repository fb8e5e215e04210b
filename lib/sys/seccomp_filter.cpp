#include "sys/seccomp_filter.hpp"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace microvm::sys {
namespace {

size_t argument_offset(unsigned index) {
  return offsetof(seccomp_data, args) + index * sizeof(uint64_t);
}

}  // namespace

SeccompFilter::SeccompFilter(uint32_t audit_arch) {
  load(offsetof(seccomp_data, arch));
  add(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 1, 0);
  answer(SECCOMP_RET_KILL_PROCESS);
  load_number();
}

void SeccompFilter::allow(uint32_t number) {
  add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
  answer(SECCOMP_RET_ALLOW);
}

void SeccompFilter::allow_if(uint32_t number, unsigned argument, uint32_t mask, uint32_t value) {
  add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 5);
  load(argument_offset(argument));
  add(BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
  add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  answer(SECCOMP_RET_ALLOW);
  load_number();
}

Result<void> SeccompFilter::apply(const char* who) {
  answer(SECCOMP_RET_ERRNO | EPERM);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::fail_errno("no_new_privs");
  const sock_fprog program{static_cast<uint16_t>(code_.size()), code_.data()};
  // Linux before 5.16 takes speculation away from whoever has a filter (SSBD, STIBP): meant for
  // programs that run foreign code in their own address space, which none of ours does. A worker's
  // guest has a SPEC_CTRL of its own and KVM clears the predictors between their switches; it would
  // only become slow, and each exit with it.
  constexpr unsigned long kFlags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &program) == 0) return {};
  return base::fail(ErrorCode::unsupported, std::string("this kernel has no seccomp filters, ") +
                                                who + " cannot be locked down");
}

void SeccompFilter::add(unsigned code, uint32_t value, uint8_t if_true, uint8_t if_false) {
  code_.push_back({static_cast<uint16_t>(code), if_true, if_false, value});
}

void SeccompFilter::load(size_t offset) {
  add(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset), 0, 0);
}

void SeccompFilter::load_number() {
  load(offsetof(seccomp_data, nr));
}

void SeccompFilter::answer(uint32_t action) {
  add(BPF_RET | BPF_K, action, 0, 0);
}

}  // namespace microvm::sys
