# libpa3d.so: csrc/pa3d.h for programs without Python. Included by the Makefile; `make -f csrc/capi.mk` works alone.
CAPI_OUT ?= build/capi

# Training is for Python alone.
CAPI_SOURCES := csrc/capi.cpp $(filter-out csrc/cpu/train_%,$(wildcard csrc/cpu/*.cpp))
CAPI_OBJECTS := $(patsubst csrc/%.cpp,$(CAPI_OUT)/%.o,$(CAPI_SOURCES))
CAPI_FLAGS := -O3 -std=c++17 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-psabi -Wno-unknown-pragmas \
	-Wno-maybe-uninitialized -Icsrc $(PA3D_CXXFLAGS)
CAPI_LINK := -shared $(PA3D_LDFLAGS)
ifneq ($(shell uname -s),Darwin)
CAPI_FLAGS += -fopenmp
CAPI_LINK += -fopenmp -Wl,--no-undefined -Wl,-soname,libpa3d.so
endif

# As setup.py has it: exact everywhere, fused multiply-add in the networks.
CAPI_EXACT := -ffp-contract=off
CAPI_FAST := -ffp-contract=fast -fno-math-errno
CAPI_FAST_SOURCES := csrc/cpu/encoder.cpp csrc/cpu/text.cpp

.PHONY: capi
capi: $(CAPI_OUT)/libpa3d.so

$(CAPI_OUT)/libpa3d.so: $(CAPI_OBJECTS)
	$(CXX) $^ $(CAPI_LINK) -o $@

$(CAPI_OUT)/%.o: csrc/%.cpp csrc/capi.mk
	@mkdir -p $(@D)
	$(CXX) -MMD $(CAPI_FLAGS) $(if $(filter $<,$(CAPI_FAST_SOURCES)),$(CAPI_FAST),$(CAPI_EXACT)) -c $< -o $@

-include $(CAPI_OBJECTS:.o=.d)
