// Puts the Chromium that npm brought where its path is told.
import chromium from '@sparticuz/chromium';

console.log(await chromium.executablePath());
