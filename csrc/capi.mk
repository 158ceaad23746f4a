# Builds libpa3d.so (csrc/pa3d.h) for programs without Python. Included by the Makefile; `make -f csrc/capi.mk` works too.
include csrc/flags.mk
CAPI_OUT ?= build/capi

# The training kernels are for Python only.
CAPI_SOURCES := csrc/capi.cpp $(filter-out csrc/cpu/train_%,$(wildcard csrc/cpu/*.cpp))
CAPI_OBJECTS := $(patsubst csrc/%.cpp,$(CAPI_OUT)/%.o,$(CAPI_SOURCES))
CAPI_FAST_SOURCES := $(shell grep -l '^$(FLAGS_FAST_MARK)$$' $(CAPI_SOURCES))
CAPI_FLAGS := $(FLAGS_OPTIMIZE) $(FLAGS_STANDARD) $(FLAGS_SHARED) $(FLAGS_WARNINGS) -Icsrc $(PA3D_CXXFLAGS)
CAPI_LINK := -shared $(PA3D_LDFLAGS)
ifneq ($(shell uname -s),Darwin)
CAPI_FLAGS += -pthread
# nodelete: threads of the pool may still be in the library when a program closes it.
CAPI_LINK += -pthread -Wl,--no-undefined -Wl,-soname,libpa3d.so -Wl,-z,nodelete
endif

.PHONY: capi
capi: $(CAPI_OUT)/libpa3d.so

$(CAPI_OUT)/libpa3d.so: $(CAPI_OBJECTS)
	$(CXX) $^ $(CAPI_LINK) -o $@

$(CAPI_OUT)/%.o: csrc/%.cpp csrc/capi.mk csrc/flags.mk
	@mkdir -p $(@D)
	$(CXX) -MMD -MP $(CAPI_FLAGS) $(if $(filter $<,$(CAPI_FAST_SOURCES)),$(FLAGS_FAST),$(FLAGS_EXACT)) -c $< -o $@

-include $(CAPI_OBJECTS:.o=.d)
