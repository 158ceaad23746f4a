# The kernels and the C interface for 64-bit Arm, by a cross compiler, as static programs for qemu; and the kernels for this
# machine, to compare exact results, for which the level of optimization makes no difference. tests/test_arm.py runs them.
# Included by the Makefile; `make -f tests/native/arm.mk arm-programs` works too.
include csrc/flags.mk
ARM_OUT ?= build/arm
ARM_CXX ?= aarch64-linux-gnu-g++

ARM_SOURCES := $(wildcard csrc/cpu/*.cpp) csrc/capi.cpp tests/native/kernels.cpp tests/native/embedded.cpp
ARM_FAST := $(shell grep -l '^$(FLAGS_FAST_MARK)$$' $(ARM_SOURCES))
ARM_FLAGS := $(FLAGS_STANDARD) $(FLAGS_WARNINGS) -Icsrc -pthread
ARM_KERNELS := $(patsubst %.cpp,%.o,$(wildcard csrc/cpu/*.cpp))
ARM_EMBEDDED := $(filter-out csrc/cpu/train_%,$(ARM_KERNELS)) csrc/capi.o tests/native/embedded.o

.PHONY: arm-programs
arm-programs: $(ARM_OUT)/kernels $(ARM_OUT)/embedded $(ARM_OUT)/host-kernels

$(ARM_OUT)/kernels: $(addprefix $(ARM_OUT)/arm/,$(ARM_KERNELS) tests/native/kernels.o)
	$(ARM_CXX) $^ -static -pthread -o $@

$(ARM_OUT)/embedded: $(addprefix $(ARM_OUT)/arm/,$(ARM_EMBEDDED))
	$(ARM_CXX) $^ -static -pthread -o $@

$(ARM_OUT)/host-kernels: $(addprefix $(ARM_OUT)/host/,$(ARM_KERNELS) tests/native/kernels.o)
	$(CXX) $^ -pthread -o $@

$(ARM_OUT)/arm/%.o: %.cpp tests/native/arm.mk csrc/flags.mk
	@mkdir -p $(@D)
	$(ARM_CXX) -MMD -MP $(FLAGS_OPTIMIZE) $(ARM_FLAGS) $(if $(filter $<,$(ARM_FAST)),$(FLAGS_FAST),$(FLAGS_EXACT)) -c $< -o $@

$(ARM_OUT)/host/%.o: %.cpp tests/native/arm.mk csrc/flags.mk
	@mkdir -p $(@D)
	$(CXX) -MMD -MP -O1 $(ARM_FLAGS) $(if $(filter $<,$(ARM_FAST)),$(FLAGS_FAST),$(FLAGS_EXACT)) -c $< -o $@

-include $(foreach machine,arm host,$(ARM_SOURCES:%.cpp=$(ARM_OUT)/$(machine)/%.d))
