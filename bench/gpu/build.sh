#!/bin/sh
# Builds the stand-alone GPU check and benchmark into the folder $1, with the static CUDA runtime, so
# that they can be carried to a machine that has the device but not the project.
# $2: a single head dimension to build, for a quick turn; $3: flags of a build that looks for races
# (docs/testing.md).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$1
shards=4
flags="-std=c++20 -O3 --expt-relaxed-constexpr -I$root/include
  -DPAGODA_NUM_SHARDS=$shards ${2:+-DPAGODA_ONLY_HEAD_DIM=$2} ${3:-}"
only_sm90="-gencode=arch=compute_90a,code=sm_90a"
mkdir -p "$out/obj"
compile() { # object, source, flags
  ccache nvcc $flags $only_sm90 $3 -c "$root/$2" -o "$out/obj/$1.o"
}
for shard in $(seq 0 $((shards - 1))); do
  compile "instantiate_$shard" src/cuda/instantiate.cu "-DPAGODA_SHARD=$shard -Xptxas -warn-spills" &
  compile "general_$shard" src/cuda/instantiate_general.cu "-DPAGODA_SHARD=$shard -Xptxas -warn-spills"
  [ $((shard % 2)) = 0 ] || wait
done
compile kernel_table src/cuda/kernel_table.cpp "" &
compile tensor_map src/cuda/tensor_map.cpp "" &
compile strides src/core/strides.cpp "" &
compile schedule src/cuda/kernels/schedule.cu ""
wait
compile check_steps tests/gpu/check_steps.cu "" &
compile check_attend tests/gpu/check_attend.cu "--default-stream per-thread" &
compile bench_attend bench/gpu/bench_attend.cu ""
wait
objects="$out/obj/instantiate_*.o $out/obj/general_*.o $out/obj/kernel_table.o $out/obj/tensor_map.o $out/obj/strides.o
  $out/obj/schedule.o"
nvcc $flags $only_sm90 -o "$out/check_attend" "$out/obj/check_attend.o" $objects
nvcc $flags $only_sm90 -o "$out/bench_attend" "$out/obj/bench_attend.o" $objects
nvcc $flags $only_sm90 -o "$out/check_steps" "$out/obj/check_steps.o" $objects
python3 "$root/tools/kernel_hash.py" "$root" > "$out/kernel_hash"
