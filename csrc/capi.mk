# Builds libpa3d.so (csrc/pa3d.h) for programs without Python, and installs it: make capi install PREFIX=/usr/local
# Included by the Makefile; `make -f csrc/capi.mk` works too.
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

# DESTDIR is for packagers: it stands before PREFIX, but not in the files.
PREFIX ?= /usr/local
CAPI_VERSION := $(shell sed -n 's/^\#define PA3D_VERSION "\(.*\)"/\1/p' csrc/pa3d.h)
CAPI_ROOT = $(DESTDIR)$(PREFIX)
CAPI_WEIGHTS := pa3d-embedded.safetensors minilm-l6-v2.safetensors minilm-tokenizer.json LICENSE-all-MiniLM-L6-v2.txt

.PHONY: install
install: capi
	install -d $(CAPI_ROOT)/include $(CAPI_ROOT)/lib/pkgconfig $(CAPI_ROOT)/lib/cmake/pa3d $(CAPI_ROOT)/share/pa3d
	install -m 644 csrc/pa3d.h csrc/pa3d.hpp $(CAPI_ROOT)/include
	install -m 755 $(CAPI_OUT)/libpa3d.so $(CAPI_ROOT)/lib
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(CAPI_VERSION)|' csrc/install/pa3d.pc.in > $(CAPI_ROOT)/lib/pkgconfig/pa3d.pc
	install -m 644 csrc/install/pa3dConfig.cmake $(CAPI_ROOT)/lib/cmake/pa3d
	sed 's|@VERSION@|$(CAPI_VERSION)|' csrc/install/pa3dConfigVersion.cmake.in \
	  > $(CAPI_ROOT)/lib/cmake/pa3d/pa3dConfigVersion.cmake
	install -m 644 $(addprefix pa3d/weights/,$(CAPI_WEIGHTS)) LICENSE NOTICE $(CAPI_ROOT)/share/pa3d

-include $(CAPI_OBJECTS:.o=.d)
