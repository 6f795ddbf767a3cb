// Lets the search run where the browser starts no worker, as for pages from a folder: in a frame; in the reader's browser.
// SPDX-License-Identifier: Apache-2.0
"use strict";

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.waiting = [];
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      // What a worker has and a page has not.
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.load(url).then(() => {
        const waiting = this.waiting;
        this.waiting = null;
        waiting.forEach((data) => this.deliver(data));
      });
      this.addEventListener("message", (event) => this.onmessage?.(event));
    }

    load(url) {
      const script = this.frame.contentDocument.createElement("script");
      script.src = new URL(url, location.href).href;
      return new Promise((loaded, failed) => {
        script.onload = loaded;
        script.onerror = failed;
        this.frame.contentDocument.body.append(script);
      });
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.deliver(data);
    }

    deliver(data) {
      const copy = structuredClone(data);
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data: copy }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
