;;; mailsync-imap-test-helper.el --- An IMAP server that knows one password  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; On loopback, without TLS, with one empty mailbox.

;;; Code:

(defvar imap-test-password "s3cret-0f-me"
  "The password that the server takes.")

(defvar imap-test-logins nil
  "What the server was told for a login, newest first.")

(defun imap-test-answer (process line)
  "Have the server PROCESS answer LINE."
  (pcase-let* ((`(,tag ,command . ,words) (split-string line " " t))
               (command (upcase (or command "")))
               (say (lambda (format &rest args)
                      (process-send-string process (concat (apply #'format format args)
                                                           "\r\n")))))
    (cond
     ((equal command "AUTHENTICATE")
      (let ((login (base64-decode-string (or (nth 1 words) ""))))
        (push login imap-test-logins)
        (if (equal login (concat "\0me\0" imap-test-password))
            (funcall say "%s OK [CAPABILITY IMAP4rev1 IDLE] in" tag)
          (funcall say "%s NO [AUTHENTICATIONFAILED] not you" tag))))
     ((equal command "LIST")
      (funcall say "* LIST () \"/\" INBOX")
      (funcall say "%s OK" tag))
     ((equal command "STATUS")
      (funcall say "* STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1 UNSEEN 0)")
      (funcall say "%s OK" tag))
     ((equal command "EXAMINE")
      (funcall say "* 0 EXISTS")
      (funcall say "* OK [UIDVALIDITY 1] x")
      (funcall say "* OK [UIDNEXT 1] x")
      (funcall say "%s OK [READ-ONLY] done" tag))
     ((equal command "CAPABILITY")
      (funcall say "* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN SASL-IR")
      (funcall say "%s OK" tag))
     ((equal command "IDLE")
      (process-put process 'idle tag)
      (funcall say "+ idling"))
     ((equal (upcase tag) "DONE")
      (funcall say "%s OK" (process-get process 'idle)))
     (t (funcall say "%s OK" tag)))))

(defun imap-test-filter (process text)
  "Take TEXT, what a client of the server PROCESS says."
  (let ((text (concat (process-get process 'rest) text)))
    (while (string-match "\\`\\(.*\\)\r\n" text)
      (let ((line (match-string 1 text)))
        (setq text (substring text (match-end 0)))
        (imap-test-answer process line)))
    (process-put process 'rest text)))

(defun imap-test-server ()
  "A server on loopback; it has the password `imap-test-password'."
  (setq imap-test-logins nil)
  (make-network-process
   :name "imap-test" :server t :host "127.0.0.1" :service t :family 'ipv4
   :coding 'binary :filter #'imap-test-filter :noquery t
   :log (lambda (_ client _)
          (set-process-query-on-exit-flag client nil)
          (process-send-string
           client "* OK [CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN SASL-IR] hi\r\n"))))

(provide 'mailsync-imap-test-helper)
;;; mailsync-imap-test-helper.el ends here
