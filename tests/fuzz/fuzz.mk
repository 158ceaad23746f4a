# make fuzz: every reader with Atheris, and the C interface under AddressSanitizer, for SECONDS in all. Included by the
# Makefile, after sanitize.mk, whose objects it uses.
SECONDS ?= 60
FUZZ_OBJECTS := $(SANITIZE_OUT)/address/csrc/capi.o $(SANITIZE_OUT)/address/tests/fuzz/capi.o \
  $(filter-out %/tests/native/kernels.o $(SANITIZE_OUT)/address/csrc/cpu/train_%,$(ADDRESS_OBJECTS))

.PHONY: fuzz
fuzz: .venv-dev/installed $(SANITIZE_OUT)/fuzz-capi
	$(DEV)/python tests/fuzz --seconds $(SECONDS) --capi $(SANITIZE_OUT)/fuzz-capi

$(SANITIZE_OUT)/fuzz-capi: $(FUZZ_OBJECTS)
	$(CXX) $^ $(ADDRESS) -pthread -o $@

-include $(FUZZ_OBJECTS:.o=.d)
