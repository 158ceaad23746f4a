# The kernels under sanitizers, as standalone programs. Included by the Makefile; `make -f tests/native/sanitize.mk` works
# too. Every source is compiled as exact: results must not depend on threads under either class of flags.
include csrc/flags.mk
SANITIZE_OUT ?= build/sanitize

SANITIZE_SOURCES := $(wildcard csrc/cpu/*.cpp) tests/native/kernels.cpp
SANITIZE_FLAGS := -O1 -g -pthread -fno-omit-frame-pointer $(FLAGS_STANDARD) $(FLAGS_WARNINGS) $(FLAGS_EXACT) -Icsrc
ADDRESS := -fsanitize=address,undefined -fno-sanitize-recover=all
THREAD := -fsanitize=thread
ADDRESS_OBJECTS := $(SANITIZE_SOURCES:%.cpp=$(SANITIZE_OUT)/address/%.o)
THREAD_OBJECTS := $(SANITIZE_SOURCES:%.cpp=$(SANITIZE_OUT)/thread/%.o)

.PHONY: sanitize
sanitize: $(SANITIZE_OUT)/kernels-address $(SANITIZE_OUT)/kernels-thread
	ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 $(SANITIZE_OUT)/kernels-address
	$(SANITIZE_OUT)/kernels-thread

$(SANITIZE_OUT)/kernels-address: $(ADDRESS_OBJECTS)
	$(CXX) $^ $(ADDRESS) -pthread -o $@

$(SANITIZE_OUT)/kernels-thread: $(THREAD_OBJECTS)
	$(CXX) $^ $(THREAD) -pthread -o $@

$(SANITIZE_OUT)/address/%.o: %.cpp tests/native/sanitize.mk csrc/flags.mk
	@mkdir -p $(@D)
	$(CXX) -MMD -MP $(SANITIZE_FLAGS) $(ADDRESS) -c $< -o $@

$(SANITIZE_OUT)/thread/%.o: %.cpp tests/native/sanitize.mk csrc/flags.mk
	@mkdir -p $(@D)
	$(CXX) -MMD -MP $(SANITIZE_FLAGS) $(THREAD) -c $< -o $@

-include $(ADDRESS_OBJECTS:.o=.d) $(THREAD_OBJECTS:.o=.d)
