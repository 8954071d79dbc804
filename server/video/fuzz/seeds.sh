#!/usr/bin/env bash
# Writes the corpus of the target `decode` with the program ffmpeg: a small file for each codec that is decoded (DECODERS in
# ../src/ffmpeg/open.rs) and for each container, and a picture per format. Where ffmpeg has no encoder of a codec, Motion JPEG
# is renamed to it, which only reaches the beginning of its decoder: add real clips of those codecs.
#
#     ./seeds.sh corpus/decode
set -euo pipefail
out=${1:?where the files go}
mkdir -p "$out"

# write NAME OPTIONS...: six pictures, and a tone where the options choose a codec for it.
write() {
  local name=$1 tone=()
  shift
  case " $* " in *' -c:a '*) tone=(-f lavfi -i sine=duration=0.4) ;; esac
  ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=64x48:rate=15:duration=0.4 "${tone[@]}" -pix_fmt yuv420p "$@" "$out/$name" \
    || { echo "$name was not written" >&2; rm -f "$out/$name"; }
}

write h264.mp4 -c:v libx264 -bf 2 -g 3 -c:a aac -metadata creation_time=2019-05-04T10:00:00Z
write h264-interlaced.ts -c:v libx264 -flags +ildct+ilme -x264opts tff=1 -c:a mp2
write h264-444.mkv -c:v libx264 -pix_fmt yuv444p
write h264.h264 -c:v libx264
write hevc.mp4 -c:v libx265 -tag:v hvc1 -x265-params log-level=none
write hevc-10.mkv -c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none
write hevc.hevc -c:v libx265 -x265-params log-level=none
write av1.mp4 -c:v libaom-av1 -cpu-used 8
write av1.obu -c:v libaom-av1 -cpu-used 8
write vp8.webm -c:v libvpx
write vp9.webm -c:v libvpx-vp9
write vp9.ivf -c:v libvpx-vp9
write mpeg1.mpg -r 25 -c:v mpeg1video -c:a mp2
write mpeg2.vob -c:v mpeg2video -bf 2 -c:a ac3
write mpeg2.m2ts -c:v mpeg2video -c:a ac3 -mpegts_m2ts_mode 1
write mpeg2.mxf -r 25 -c:v mpeg2video -c:a pcm_s16le -ar 48000
write mpeg2.m2v -c:v mpeg2video
write mpeg2.wtv -c:v mpeg2video -c:a mp2
write mpeg4.avi -c:v mpeg4 -bf 2 -c:a mp3
write mpeg4.m4v -c:v mpeg4
write mjpeg.avi -c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le
write mjpeg.mjpeg -c:v mjpeg -pix_fmt yuvj420p
write h261.mov -c:v h261 -s 176x144
write h263.3gp -c:v h263 -s 176x144 -c:a aac
write h263.h263 -c:v h263 -s 176x144
write h263p.avi -c:v h263p -s 176x144
write flv.flv -c:v flv -c:a mp3
write wmv1.asf -c:v wmv1 -c:a wmav2
write wmv2.wmv -c:v wmv2 -c:a wmav2
write msmpeg4v2.avi -c:v msmpeg4v2
write msmpeg4.avi -c:v msmpeg4
write dv.dv -s 720x576 -r 25 -c:v dvvideo -c:a pcm_s16le -ar 48000 -ac 2 -t 0.08
write dv.mov -s 720x480 -r 30000/1001 -c:v dvvideo -pix_fmt yuv411p -frames:v 1
write theora.ogv -c:v libtheora -c:a libvorbis
write svq1.mov -c:v svq1 -pix_fmt yuv410p
write prores.mov -c:v prores -pix_fmt yuv422p10le
write dnxhd.mov -c:v dnxhd -profile:v dnxhr_lb -s 256x128 -pix_fmt yuv422p
write gif.gif -c:v gif -pix_fmt pal8
write rawvideo.avi -c:v rawvideo -s 32x24
write rawvideo.mov -c:v rawvideo -s 32x24 -pix_fmt yuyv422
write cinepak.avi -c:v cinepak -pix_fmt rgb24
write huffyuv.avi -c:v huffyuv -pix_fmt yuv422p
write ffvhuff.avi -c:v ffvhuff
write ffv1.mkv -c:v ffv1 -level 3
write ffv1-1.avi -c:v ffv1 -level 1
write qtrle.mov -c:v qtrle -pix_fmt rgb24
write rv10.rm -c:v rv10 -c:a ac3
write rv20.rm -c:v rv20
write png.mov -c:v png -pix_fmt rgb24
write rpza.mov -c:v rpza -pix_fmt rgb555be
write smc.mov -c:v smc -pix_fmt pal8
write utvideo.avi -c:v utvideo
write v210.mov -c:v v210 -pix_fmt yuv422p10le
write r210.mov -c:v r210 -pix_fmt gbrp10le
write cfhd.mov -c:v cfhd -pix_fmt yuv422p10le
write msvideo1.avi -c:v msvideo1 -pix_fmt rgb555le
write jpeg2000.mov -c:v jpeg2000
write jpeg2000.mxf -c:v jpeg2000 -r 24
write zmbv.avi -c:v zmbv -pix_fmt bgr0
write flashsv.flv -c:v flashsv -pix_fmt bgr24
write picture.png -frames:v 1 -pix_fmt rgb24
write picture.jpg -frames:v 1 -pix_fmt yuvj420p
write picture.webp -frames:v 1
write picture.bmp -frames:v 1 -pix_fmt bgr24

# renamed FILE CODE...: the same bytes under the name of a codec that has no encoder; FILE's own code is that of Motion JPEG.
renamed() {
  local file=$1 extension=${1##*.} code
  shift
  for code; do LC_ALL=C sed "s/MJPG/$code/g; s/jpeg/$code/g" "$out/$file" >"$out/${code// /_}.$extension"; done
}

write short.avi -c:v mjpeg -pix_fmt yuvj420p -frames:v 2
write short.mov -c:v mjpeg -pix_fmt yuvj420p -frames:v 2
renamed short.avi WMV3 WVC1 MPG4 LAGS IV31 IV41 IV50 VP60 VP61 VP62 RV30 RV40 I263
renamed short.mov SVQ3 mjpb icod VP6F VP6A
