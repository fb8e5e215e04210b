#include "vmm/platform/generation_id.hpp"

#include <doctest/doctest.h>

#include "counting_irq.hpp"
#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm;
using namespace microvm::vmm;

TEST_CASE("generation id: boot writes one, a restore writes another and says so") {
  auto memory = GuestMemory::reserve(2 << 20);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  GenerationGuid zero{};
  GenerationGuid first{};
  GenerationGuid second{};
  test::CountingIrq irq;

  REQUIRE(write_generation_id(*memory));
  REQUIRE(memory->read(layout::kGenerationIdPage, first));
  CHECK(first != zero);

  REQUIRE(renew_generation_id(*memory, irq));
  REQUIRE(memory->read(layout::kGenerationIdPage, second));
  CHECK(second != first);
  CHECK(irq.count == 1);
}
