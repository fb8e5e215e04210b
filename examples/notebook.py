# %% [markdown]
# # A microVM in ten cells
# Each cell stands for itself once those above have run. `counter` is the image of examples/apps/counter:
# `microvm image build -t counter examples/apps/counter`, or the cell below.

# %%
import asyncio

import libmicrovm
from libmicrovm import aio

runtime = libmicrovm.Runtime()
print(libmicrovm.__version__, runtime.data_dir)

# %% What this host can do
for finding in libmicrovm.probe_host():
    print(f"{finding.name:12} {finding.state:8} {finding.is_}")

# %% The image, once
if not any(image.name == "counter" for image in runtime.images()):
    runtime.build("examples/apps/counter", "counter", progress=libmicrovm.text_progress())

# %% A microVM from its snapshot: the app runs already
vm = runtime.run("counter")
print(vm.id, vm.launch_times().ready)

# %% A program in it
result = vm.exec(["python3", "-c", "print(sum(range(10)))"], text=True, check=True)
print(result.stdout)

# %% Its output as it comes
with vm.popen(["sh", "-c", "for i in 1 2 3; do echo $i; done"]) as program:
    for piece in program:
        print(piece.stream, piece.data)
    print(program.wait().code)

# %% Files in and out
vm.write_file("/tmp/in.csv", b"a,b\n1,2\n")
vm.exec(["sh", "-c", "tr a-z A-Z </tmp/in.csv >/tmp/out.csv"], check=True)
print(vm.read_file("/tmp/out.csv"))

# %% Try something, and take it back
checkpoint = vm.checkpoint()
vm.exec(["rm", "/tmp/in.csv"], check=True)
vm.rollback(checkpoint.id)
print(vm.stat_file("/tmp/in.csv").size_bytes)
runtime.remove_checkpoint(checkpoint.id)

# %% Two more that go on from here
forks = vm.fork(count=2)
print([fork.exec(["hostname"], text=True).stdout for fork in forks])


# %% Many programs at once, without a thread each
async def hostnames(ids: list[str]) -> list[str]:
    async with aio.Runtime() as many:
        vms = [await many.attach(each) for each in ids]
        results = await asyncio.gather(*(each.exec(["hostname"], text=True) for each in vms))
        return [result.stdout.strip() for result in results]


print(asyncio.run(hostnames([vm.id])))

# %% An error is a class, a code and one line
try:
    runtime.run("no-such-image")
except libmicrovm.NotFound as error:
    print(error.code.name, error)

# %% The end: what dies with its owner ends with the Runtime
runtime.close()
