# A thin door over the CMake presets.
#   make            build build/tern
#   make run        build, and write a story with a real model (MODEL=file to choose one)
#   make test       build, and run every test
#   make install    library, headers, pkg-config file, man pages, completions (PREFIX=/usr/local)

PRESET ?= release
PREFIX ?= /usr/local
PROMPT ?= Once upon a time
BUILD  := $(if $(filter release,$(PRESET)),build,build-$(PRESET))

all: configure
	@cmake --build $(BUILD) --parallel

# the program alone: a fraction of the time
program: configure
	@cmake --build $(BUILD) --parallel --target tern_program

configure: deps
	@cmake --preset $(PRESET) $(GENERATOR) >/dev/null

deps:
	@scripts/deps.sh

GENERATOR = $(if $(shell command -v ninja),-G Ninja,)

run: program
	@scripts/run.sh $(BUILD)/tern "$(MODEL)" "$(PROMPT)"

test: all
	@ctest --test-dir $(BUILD) --output-on-failure --no-tests=error -j $(or $(shell nproc),1)
	@[ -d "$${TERN_DATA:-../shared/data}" ] || echo "without test data, the tests that need it were skipped: TERN_DATA=FOLDER names it"

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

fuzz-long: deps
	@scripts/fuzz_long.sh

clean:
	@rm -rf build build-*

.PHONY: all program configure deps run test install fuzz-long clean
