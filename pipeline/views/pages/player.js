// Shows a clip's crops: fetches sprites when they are needed, the next one ahead, and drops old ones.
// For a store without crops it shows nothing and is always ready.

const KEPT = 12;

export class Player {
  // canvas: where the face is shown; sprite: {frames, columns, tile_px} or null; say(text) for errors
  constructor(canvas, sprite, say) {
    Object.assign(this, { canvas, sprite, say });
    this.context = canvas.getContext("2d");
    canvas.hidden = !sprite;
    if (sprite) canvas.width = canvas.height = sprite.tile_px;
    this.open(0, 0);
  }

  open(clip, nFrames) {
    Object.assign(this, { clip, nFrames, images: new Map(), wanted: 0 });
  }

  block(number) {
    const known = this.images.get(number);
    this.images.delete(number);
    const image = known ?? new Image();
    if (!known) {
      const clip = this.clip;
      image.src = `api/clips/${clip}/sprites/${number}`;
      image.onload = () => { if (clip === this.clip) this.show(this.wanted); };
      image.onerror = () => this.say("Cannot read crops. Is 'tclr view' still running?");
    }
    this.images.set(number, image);  // now the most recent
    while (this.images.size > KEPT) this.images.delete(this.images.keys().next().value);
    return image;
  }

  ready(row) {
    if (!this.sprite) return true;
    const image = this.block(Math.floor(row / this.sprite.frames));
    return image.complete && image.naturalWidth > 0;
  }

  // Draws a frame now, or as soon as its sprite arrives.
  show(row) {
    if (!this.sprite) return;
    const { frames, columns, tile_px: side } = this.sprite;
    this.wanted = row;
    const number = Math.floor(row / frames), place = row % frames, image = this.block(number);
    if (image.complete && image.naturalWidth > 0) {
      const x = (place % columns) * side, y = Math.floor(place / columns) * side;
      this.context.drawImage(image, x, y, side, side, 0, 0, side, side);
      this.canvas.dataset.row = row;
      if ((number + 1) * frames < this.nFrames) this.block(number + 1);
    }
  }
}
