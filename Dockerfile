# syntax=docker/dockerfile:1
# The image of all services, `docker build .`: one program, whose first argument says which service runs (docs/deploy.md).
# What is built, and how, is in scripts/image.sh, which a test runs too.

# Tags are pinned, digests are not: pin them (golang:…@sha256:…) where your registry's contents may change.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
# Go compiles for any platform on this one: no emulation. The sources are mounted, not copied, and what was downloaded and compiled is kept between builds.
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    GOTOOLCHAIN=local GOOS=$TARGETOS GOARCH=$TARGETARCH VERSION=$VERSION scripts/image.sh /image

# Nothing but the program and certificates: no shell, no package manager, nothing to update but Beaconpost itself.
FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Beaconpost" \
      org.opencontainers.image.description="Sends webhooks for SaaS platforms and watches URLs" \
      org.opencontainers.image.source="https://github.com/beaconpost/beaconpost" \
      org.opencontainers.image.documentation="https://github.com/beaconpost/beaconpost/blob/main/docs/deploy.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /image/ /
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/beaconpost"]
