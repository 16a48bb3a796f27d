#!/bin/sh
# Makes build/knowalledge_VERSION_ARCH.deb out of what `make install` installs.
#   deploy/deb/build.sh
set -eu
cd "$(dirname "$0")/../.."

here=deploy/deb
stage=$PWD/build/deb
version=$(cat VERSION)
arch=$(dpkg --print-architecture)
rm -rf "$stage"
mkdir -p "$stage/DEBIAN"
make -s install DESTDIR="$stage" PREFIX=/usr >/dev/null
# Debian's own place for units, whichever way /usr is merged.
strip --strip-unneeded "$stage"/usr/bin/*
mkdir -p "$stage/usr/share/knowalledge"
cp $here/knowalledge.env "$stage/usr/share/knowalledge/"
for s in postinst prerm postrm; do
	install -m 0755 "$here/$s" "$stage/DEBIAN/$s"
done

# dpkg-shlibdeps wants a source package around it.
mkdir -p "$stage/debian"
printf 'Source: knowalledge\n\nPackage: knowalledge\nArchitecture: any\n' >"$stage/debian/control"
needs=$(cd "$stage" && dpkg-shlibdeps -O usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
rm -rf "$stage/debian"
[ -n "$needs" ] || { echo "build.sh: dpkg-shlibdeps found no libraries" >&2; exit 1; }
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@NEEDS@/$needs/
	s/@SIZE@/$(du -sk "$stage/usr" | cut -f1)/" $here/control.in >"$stage/DEBIAN/control"
dpkg-deb --root-owner-group -Zxz --build "$stage" "build/knowalledge_${version}_$arch.deb" >/dev/null
echo "build/knowalledge_${version}_$arch.deb"
