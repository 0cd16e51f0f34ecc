# The app's image for amd64 and arm64: one static program and the certificate authorities it trusts. No shell, no libc.
# It compiles on the machine that builds, whatever it builds for.

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
RUN dpkg --add-architecture "$TARGETARCH" \
    && apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates clang llvm make "musl-dev:$TARGETARCH" perl
WORKDIR /doorstep
COPY Cargo.toml Cargo.lock ./
COPY addon/build addon/build
COPY src src
RUN install -D "$(addon/build "$TARGETARCH" | tail -n 1)" /image/doorstep \
    && install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
ARG BUILD_VERSION
ARG BUILD_ARCH
LABEL io.hass.type="app" \
      io.hass.name="Doorstep" \
      io.hass.description="Vivint, Wyze and AWS KVS doorbells with ring, picture, talk and unlock" \
      io.hass.version="$BUILD_VERSION" \
      io.hass.arch="$BUILD_ARCH"
COPY --from=build /image/ /
# It begins as root, because the Supervisor makes /data as root: it gives that folder to user 10001 and becomes that
# user before it does anything else. A USER here could not write to /data.
ENTRYPOINT ["/doorstep"]
CMD ["run"]
