#include "vmm/arch/x86_64/feature_names.hpp"

#include <array>
#include <cstdio>

namespace microvm::vmm::x86_64 {
namespace {

using enum CpuidRegister;

constexpr std::array kWords = {
    FeatureWord{0x1, 0, edx,
                "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn "
                "clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
    FeatureWord{0x1, 0, ecx,
                "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr "
                "pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave "
                "osxsave avx f16c rdrand hypervisor"},
    FeatureWord{0x7, 0, ebx,
                "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm "
                "cqm zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - "
                "clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
    FeatureWord{0x7, 0, ecx,
                "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes "
                "vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid "
                "key_locker bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks"},
    FeatureWord{0x7, 0, edx,
                "- sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect "
                "srbds_ctrl md_clear rtm_always_abort - tsx_force_abort serialize hybrid_cpu "
                "tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 "
                "spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities "
                "spec_ctrl_ssbd"},
    FeatureWord{0x7, 1, eax,
                "sha512 sm3 sm4 - avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext - fzrm fsrs "
                "fsrc - - - - fred lkgs wrmsrns - amx_fp16 hreset avx_ifma - - lam msrlist"},
    FeatureWord{0x7, 1, edx,
                "- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - "
                "prefetchiti - - - - avx10"},
    FeatureWord{0x7, 2, edx, "psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no"},
    FeatureWord{0xd, 1, eax, "xsaveopt xsavec xgetbv1 xsaves xfd"},
    FeatureWord{0x40000001, 0, eax,
                "kvmclock kvm_nopiodelay kvm_mmu kvmclock2 kvm_asyncpf kvm_steal_time kvm_pv_eoi "
                "kvm_pv_unhalt - kvm_pv_tlb_flush kvm_asyncpf_vmexit kvm_pv_ipi kvm_poll_control "
                "kvm_pv_sched_yield kvm_asyncpf_int kvm_msi_ext_dest_id kvm_hc_map_gpa_range "
                "kvm_migration_control - - - - - - kvmclock_stable_bit"},
    FeatureWord{
        0x80000001, 0, edx,
        "fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov pat pse36 - mp "
        "nx - mmxext mmx fxsr fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
    FeatureWord{
        0x80000001, 0, ecx,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw "
        "ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core "
        "perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
    FeatureWord{0x80000007, 0, edx, "- - - - - - - - nonstop_tsc"},
    FeatureWord{0x80000008, 0, ebx,
                "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs amd_stibp "
                "ibrs_always_on stibp_always_on - - - - - amd_ppin amd_ssbd virt_ssbd amd_ssb_no "
                "cppc amd_psfd btc_no ibpb_ret"},
    FeatureWord{0x80000021, 0, eax,
                "no_nested_data_bp - lfence_always_serializing - - verw_clear null_sel_clr_base - "
                "auto_ibrs no_smm_ctl_msr - - - - - - - prefetchi - - - - - - - - - sbpb "
                "ibpb_brtype srso_no srso_user_kernel_no"},
};

constexpr std::array<const char*, 4> kRegisterNames = {"eax", "ebx", "ecx", "edx"};

// Word number `at` of a list separated by single spaces; empty behind the end.
std::string_view word_at(std::string_view list, unsigned at) {
  for (; at > 0; --at) {
    const size_t space = list.find(' ');
    if (space == list.npos) return {};
    list.remove_prefix(space + 1);
  }
  return list.substr(0, list.find(' '));
}

}  // namespace

std::span<const FeatureWord> feature_words() {
  return kWords;
}

std::string feature_name(const FeatureWord& word, unsigned bit) {
  const std::string_view name = word_at(word.names, bit);
  if (!name.empty() && name != "-") return std::string(name);
  const char* reg = kRegisterNames[static_cast<size_t>(word.reg)];
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "cpuid 0x%x.%u %s bit %u", word.function, word.index, reg,
                bit);
  return text.data();
}

std::string xsave_component_name(unsigned component) {
  constexpr std::string_view kNames =
      "x87 sse avx bndregs bndcsr opmask zmm_hi256 hi16_zmm pt pkru pasid cet_user cet_supervisor "
      "hdc uintr lbr hwp xtile_cfg xtile_data";
  const std::string_view name = word_at(kNames, component);
  return name.empty() ? "component " + std::to_string(component) : std::string(name);
}

}  // namespace microvm::vmm::x86_64
