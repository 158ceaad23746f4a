# The kernels under sanitizers, as programs of their own. Included by the Makefile; works alone with make -f, too.
SANITIZE_OUT ?= build/sanitize

SANITIZE_SOURCES := $(wildcard csrc/cpu/*.cpp) tests/native/kernels.cpp
SANITIZE_FLAGS := -O1 -g -std=c++17 -fopenmp -fno-omit-frame-pointer -Wall -Wextra -Wno-psabi -Wno-unknown-pragmas \
	-Wno-maybe-uninitialized -Icsrc -ffp-contract=off
ADDRESS := -fsanitize=address,undefined -fno-sanitize-recover=all
THREAD := -fsanitize=thread
ADDRESS_OBJECTS := $(SANITIZE_SOURCES:%.cpp=$(SANITIZE_OUT)/address/%.o)
THREAD_OBJECTS := $(SANITIZE_SOURCES:%.cpp=$(SANITIZE_OUT)/thread/%.o) $(SANITIZE_OUT)/thread/tests/native/openmp.o

.PHONY: sanitize
sanitize: $(SANITIZE_OUT)/kernels-address $(SANITIZE_OUT)/kernels-thread
	ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 $(SANITIZE_OUT)/kernels-address
	$(SANITIZE_OUT)/kernels-thread

$(SANITIZE_OUT)/kernels-address: $(ADDRESS_OBJECTS)
	$(CXX) $^ $(ADDRESS) -fopenmp -o $@

# Without -fopenmp: openmp.cpp stands in for the runtime.
$(SANITIZE_OUT)/kernels-thread: $(THREAD_OBJECTS)
	$(CXX) $^ $(THREAD) -pthread -o $@

$(SANITIZE_OUT)/address/%.o: %.cpp tests/native/sanitize.mk
	@mkdir -p $(@D)
	$(CXX) -MMD $(SANITIZE_FLAGS) $(ADDRESS) -c $< -o $@

$(SANITIZE_OUT)/thread/%.o: %.cpp tests/native/sanitize.mk
	@mkdir -p $(@D)
	$(CXX) -MMD $(SANITIZE_FLAGS) $(THREAD) -c $< -o $@

-include $(ADDRESS_OBJECTS:.o=.d) $(THREAD_OBJECTS:.o=.d)
