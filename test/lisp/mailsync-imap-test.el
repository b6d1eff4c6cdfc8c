;;; mailsync-imap-test.el --- IMAP servers: what is configured, and the password  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The configuration as a table, the password from auth-source, and the module
;; against a server of ours that knows the right one.

;;; Code:

;; It says so when it is loaded, for a name of another machine.
(require 'tramp)
(require 'mailsync-test-helper)
(require 'mailsync-imap-test-helper)
(require 'mailsync-imap)
(require 'auth-source)
(require 'epg-config)

;;;; The configuration

(defconst imap-test-pin
  (mapconcat (lambda (_) "ab") (make-list 32 nil) ":")
  "A fingerprint.")

(defconst imap-test-right
  `((:host "h")
    (:tunnel ("ssh" "h" "/usr/lib/dovecot/imap"))
    (:tunnel ("imap") :host "h" :port 143 :user "u")
    (:host "h" :port 1) (:host "h" :port 65535)
    (:host "h" :user "jörg@example.org")
    (:host "h" :tls t) (:host "h" :tls tls) (:host "h" :tls nil)
    (:host "h" :tls starttls) (:host "h" :tls none)
    (:host "h" :tls-fingerprint ,imap-test-pin)
    (:host "h" :tls-fingerprint ,(concat "SHA256:" imap-test-pin))
    (:host "h" :tls-fingerprint ,(concat "sha256:" (upcase imap-test-pin)))
    (:host "h" :tls-fingerprint ,(string-replace ":" "" imap-test-pin))
    (:host "h" :tls starttls :tls-fingerprint ,imap-test-pin)
    (:host "h" :auth plain) (:host "h" :auth login)
    (:host "h" :auth xoauth2 :oauth-command ("token"))
    (:host "h" :auth oauthbearer :oauth-command ("token" "me"))
    (:host "h" :oauth-command ("token"))
    (:host "h" :secret-command ("pass" "show" "x"))
    (:host "h" :auth plain :secret-command ("~/bin/pass"))
    (:host "h" :folders ("INBOX" "lists/*" "Entwürfe"))
    (:host "h" :folders nil :idle-folders nil :port nil)
    (:host "h" :idle-folders ("INBOX"))
    (:host "h" :idle-refresh 10) (:host "h" :idle-refresh 1680)
    (:host "h" :poll 10) (:host "h" :poll 60.5))
  "What is right.")

(defconst imap-test-wrong
  `((nil "needs :host, or :tunnel")
    ((:user "me") "needs :host, or :tunnel")
    ((:host) "in turn")
    ((:host "h" . "x") "(imap KEY VALUE...)")
    (("h") "in turn")
    ((:hots "h") ":hots" "the keys are :host" ":poll")
    ((:host "") ":host" "\"\"" "name of a server")
    ((:host h) ":host" "is h,")
    ((:host "a\0b") ":host")
    ((:host "h" :port 0) ":port" "is 0," "1 to 65535")
    ((:host "h" :port 65536) ":port" "65536")
    ((:host "h" :port "993") ":port" "\"993\"")
    ((:host "h" :user me) ":user" "is me,")
    ((:host "h" :user "") ":user")
    ((:host "h" :tls ssl) ":tls" "is ssl," "starttls")
    ((:host "h" :tls "none") ":tls")
    ((:host "h" :tls-fingerprint "SHA256:abcd") ":tls-fingerprint" "64 hexadecimal")
    ((:host "h" :tls-fingerprint ,(concat "SHA1:" imap-test-pin)) ":tls-fingerprint")
    ((:host "h" :tls-fingerprint ,(concat imap-test-pin ":ab")) ":tls-fingerprint")
    ((:host "h" :tls-fingerprint 7) ":tls-fingerprint")
    ((:host "h" :auth cram-md5) ":auth" "cram-md5" "xoauth2")
    ((:host "h" :auth "plain") ":auth")
    ((:host "h" :secret-command "pass show x") ":secret-command" "a program and")
    ((:host "h" :secret-command ("")) ":secret-command")
    ((:host "h" :secret-command (pass)) ":secret-command")
    ((:host "h" :secret-command ("/ssh:h:/bin/pass")) ":secret-command")
    ((:host "h" :oauth-command "token") ":oauth-command")
    ((:tunnel "ssh h imap") ":tunnel" "a program and")
    ((:host "h" :folders "INBOX") ":folders" "a list of folders")
    ((:host "h" :folders ("a" b)) ":folders")
    ((:host "h" :idle-folders "INBOX") ":idle-folders")
    ((:host "h" :idle-refresh 9) ":idle-refresh" "1680")
    ((:host "h" :idle-refresh 1740) ":idle-refresh")
    ((:host "h" :idle-refresh "540") ":idle-refresh")
    ((:host "h" :poll 9) ":poll" "10 at least")
    ((:host "h" :poll t) ":poll")
    ;; Each is right by itself.
    ((:tunnel ("imap") :tls t) ":tls and :tunnel" "not encrypted again")
    ((:tunnel ("imap") :tls-fingerprint ,imap-test-pin) ":tls-fingerprint" "nothing is encrypted")
    ((:host "h" :tls none :tls-fingerprint ,imap-test-pin) ":tls-fingerprint" "nothing is encrypted")
    ((:host "h" :secret-command ("a") :oauth-command ("b"))
     ":secret-command and :oauth-command" "one of them")
    ((:host "h" :auth xoauth2) "needs :oauth-command")
    ((:host "h" :auth oauthbearer :secret-command ("a")) "needs :oauth-command")
    ((:host "h" :auth plain :oauth-command ("a")) ":oauth-command" "neither plain nor login"))
  "What is wrong, with words that tell of it.")

(defun imap-test-read (remote)
  "Read an account \"w\" with REMOTE; return if it is right, and what was said."
  (let ((said nil)
        (mailsync--said nil)
        (mailsync-accounts (list (list "w" :remote remote))))
    (cl-letf (((symbol-function 'message)
               (lambda (format &rest args)
                 (push (apply #'format format args) said))))
      (cons (and (mailsync-accounts-read) t) said))))

(ert-deftest imap-test-right ()
  "What is right is taken without a word, alone or beside another store."
  (dolist (plist imap-test-right)
    (ert-info ((format "%S" plist))
      (should (equal (imap-test-read (cons 'imap plist)) '(t)))
      (should (equal (imap-test-read (list '(watcher "x") (cons 'imap plist)))
                     '(t))))))

(ert-deftest imap-test-wrong ()
  "Each mistake is said once, with the account, the form and the key."
  (pcase-dolist (`(,plist . ,words) imap-test-wrong)
    (ert-info ((format "%S" plist))
      (pcase-let ((`(,good . ,said) (imap-test-read (cons 'imap plist))))
        (should-not good)
        (should (= 1 (length said)))
        (dolist (word (append '("\"w\"" ":remote") words))
          (ert-info ((format "%S, %S" word (car said)))
            (should (string-search word (car said)))))))))

(defun imap-test-vector (&rest plist)
  "What the module gets for (imap PLIST...), without paths and environment."
  (substring (mailsync-imap-for-module plist nil nil) 2))

(ert-deftest imap-test-for-module ()
  "What is not said has its default; names are in bytes."
  (let ((me (user-login-name)))
    (should (equal (imap-test-vector :host "h")
                   (vector "h" 993 "tls" nil me nil nil nil nil nil nil nil
                           540.0 300.0)))
    (should (equal (imap-test-vector :host "h" :tls 'starttls :user "ö"
                                     :auth 'plain :idle-folders '("INBOX" "ä")
                                     :idle-refresh 60 :poll 30
                                     :secret-command '("pass" "ü"))
                   (vector "h" 143 "starttls" nil "\303\266" "plain"
                           ["pass" "\303\274"] nil nil nil nil
                           ["INBOX" "\303\244"] 60.0 30.0)))
    (should (equal (imap-test-vector :host "h" :tls 'none :port 1143)
                   (vector "h" 1143 "none" nil me nil nil nil nil nil nil nil
                           540.0 300.0)))
    (should (equal (imap-test-vector :tunnel '("ssh" "h" "imap"))
                   (vector "localhost" 143 "none" nil me nil nil nil
                           ["ssh" "h" "imap"] nil nil nil 540.0 300.0)))
    (should (equal (imap-test-vector :host "h" :auth 'xoauth2
                                     :tls-fingerprint imap-test-pin
                                     :oauth-command '("~/token"))
                   (vector "h" 993 "tls" imap-test-pin me "xoauth2" nil
                           (vector (expand-file-name "~/token"))
                           nil nil nil nil 540.0 300.0)))))

(ert-deftest imap-test-names-and-folders ()
  "The account says of names what stands before and between them."
  (let* ((remote '(imap :host "h" :folders ("INBOX" "ä/*")))
         (store (aref (mailsync-remote-for-module remote "p." "/" 5 600) 0)))
    (should (equal (substring store 0 4)
                   (vector "imap" 5.0 600.0 ["INBOX" "\303\244/*"])))
    (should (equal (substring (aref store 4) 11 13) ["p." "/"]))))

;;;; The password

(defvar imap-test-given nil
  "What the module was given: lists (REMOTE NUMBER SECRET REASON), newest first.")

(defvar imap-test-strings nil
  "The very strings that the module was given, newest first.")

(defmacro imap-test-with (netrc &rest body)
  "Run BODY with NETRC as the file that auth-source reads, `file'.
What the module would be given is in `imap-test-given'."
  (declare (indent 1))
  `(let* ((file (make-temp-file "mailsync-authinfo" nil nil ,netrc))
          (auth-sources (list file))
          (mailsync-imap--resumed nil)
          (imap-test-given nil)
          (imap-test-strings nil))
     (auth-source-forget-all-cached)
     (unwind-protect
         (cl-letf (((symbol-function 'mailsync-module--secret)
                    (lambda (remote number secret reason)
                      (push secret imap-test-strings)
                      (push (list remote number (copy-sequence secret) reason)
                            imap-test-given))))
           ,@body)
       (auth-source-forget-all-cached)
       (delete-file file))))

(defun imap-test-ask (&optional host port user anew)
  "Have the password of USER at HOST and PORT wanted; return it, or why not.
ANEW means that the last one was wrong."
  (mailsync-imap-wanted "w" 3 7 (or host "mail.example.org") (or port 993)
                        (or user "me") anew)
  (pcase-let ((`(,remote ,number ,secret ,reason) (car imap-test-given)))
    (should (equal (list remote number) '(3 7)))
    ;; What was given is no more.
    (when secret
      (should-not (equal secret (car imap-test-strings)))
      (should (string-match-p "\\`\0+\\'" (car imap-test-strings))))
    (or secret reason)))

(ert-deftest imap-test-password ()
  "The entry that fits, by host, port and user, is the one."
  (pcase-dolist (`(,netrc ,wanted . ,args)
                 '(("machine mail.example.org login me password right" "right")
                   ("machine mail.example.org password right" "right")
                   ("machine mail.example.org port 993 login me password right" "right")
                   ("machine mail.example.org port imaps login me password right" "right")
                   ("machine mail.example.org port imap login me password right" "right")
                   ("machine mail.example.org port 1143 login me password right" "right"
                    nil 1143)
                   ("machine mail.example.org port 25 login me password wrong
machine mail.example.org port 993 login me password right" "right")
                   ("machine mail.example.org login you password wrong
machine mail.example.org login me password right" "right")
                   ("machine other.example.org login me password wrong
machine mail.example.org login me password right" "right")
                   ("machine mail.example.org login \"some body\" password \"my pass word\""
                    "my pass word" nil nil "some body")
                   ("machine mail.example.org login me password \"qu'ote\"" "qu'ote")
                   ;; In bytes.
                   ("machine mail.example.org login me password pässwörd"
                    "p\303\244ssw\303\266rd")))
    (ert-info (netrc)
      (imap-test-with netrc
        (should (equal (apply #'imap-test-ask args) wanted))))))

(ert-deftest imap-test-no-password ()
  "Where there is none the reason says which is missing, and nobody is asked."
  (dolist (netrc '("" "machine mail.example.org port 25 login me password wrong"
                   "machine mail.example.org login you password wrong"
                   "machine example.org login me password wrong"
                   "machine mail.example.org login me"))
    (imap-test-with netrc
      (cl-letf (((symbol-function 'read-passwd)
                 (lambda (&rest _) (ert-fail "somebody was asked"))))
        (let ((said (imap-test-ask)))
          (dolist (word '("no password" "me" "mail.example.org" "993"))
            (should (string-search word said))))
        (should-not (nth 2 (car imap-test-given)))))))

(ert-deftest imap-test-password-kinds ()
  "A password may be a string or a function, that of another backend too."
  (imap-test-with ""
    (dolist (secret (list "right" (lambda () "right")))
      (let ((kept (copy-sequence "right")))
        (cl-letf (((symbol-function 'auth-source-search)
                   (lambda (&rest _) (list (list :secret secret)))))
          (should (equal (imap-test-ask) "right"))
          (should (equal (if (functionp secret) (funcall secret) secret)
                         kept)))))
    (cl-letf (((symbol-function 'auth-source-search)
               (lambda (&rest _) '((:secret "")))))
      (should (string-search "no password" (imap-test-ask))))
    (cl-letf (((symbol-function 'auth-source-search)
               (lambda (&rest _) (error "The vault is closed"))))
      (should (string-search "The vault is closed" (imap-test-ask))))
    (cl-letf (((symbol-function 'auth-source-search)
               (lambda (&rest _) (signal 'quit nil))))
      (should (string-search "was given" (imap-test-ask))))))

(ert-deftest imap-test-anew ()
  "What was refused is forgotten, and so is that there was none."
  (imap-test-with "machine mail.example.org login me password wrong"
    (cl-flet ((write (text)
                (write-region text nil file nil 'silent)
                ;; The file alone is looked at by its time.
                (set-file-times file (time-add nil 5))))
      (should (equal (imap-test-ask) "wrong"))
      (write "machine mail.example.org login me password right")
      (should (equal (imap-test-ask) "wrong"))
      (should (equal (imap-test-ask nil nil nil t) "right"))
      (should (equal (imap-test-ask) "right")))))

(ert-deftest imap-test-as-gnus-asks ()
  "The server may have a name in Gnus by which auth-source knows it, or a port."
  (pcase-dolist (`(,netrc ,spec)
                 '(("machine work login me password right"
                    (:host ("work" "mail.example.org")))
                   ("machine mail.example.org port 143 login me password right"
                    (:host ("mail.example.org") :port ("imap" "143")))))
    (imap-test-with netrc
      (should (string-search "no password" (imap-test-ask)))
      (let ((mailsync-imap-lookup-function
             (lambda (account) (and (equal account "w") spec))))
        (should (equal (imap-test-ask) "right")))))
  ;; What somebody has typed for Gnus is in no file.
  (imap-test-with ""
    (let* ((spec '(:max 1 :host ("work" "mail.example.org") :port ("imap")))
           (mailsync-imap-lookup-function (lambda (_) spec)))
      (auth-source-remember spec (list (list :user "me" :secret "typed")))
      (should (equal (imap-test-ask) "typed"))
      (should (string-search "no password" (imap-test-ask nil nil nil t))))))

(defmacro imap-test-interactively (idle &rest body)
  "Run BODY in an Emacs that is not in batch, and has been idle for IDLE seconds."
  (declare (indent 1))
  `(let ((noninteractive nil))
     (cl-letf (((symbol-function 'current-idle-time)
                (lambda () (and ,idle (seconds-to-time ,idle)))))
       ,@body)))

;; Security: S53.
(ert-deftest imap-test-nobody-there ()
  "Nobody is asked anything who is not there, or is busy with a question."
  (let ((asking (lambda (&rest _)
                  (if inhibit-interaction
                      (signal 'inhibited-interaction nil)
                    (list (list :secret "typed"))))))
    (imap-test-with ""
      (cl-letf (((symbol-function 'auth-source-search) asking))
        ;; In batch, as the tests are.
        (should (string-search "nobody was there" (imap-test-ask)))
        (imap-test-interactively nil
          (should (equal (imap-test-ask) "typed")))
        (imap-test-interactively 2
          (should (equal (imap-test-ask) "typed")))
        (imap-test-interactively 120
          (dolist (word '("needs the password" "me" "mail.example.org"))
            (should (string-search word (imap-test-ask)))))
        (imap-test-interactively 2
          (cl-letf (((symbol-function 'minibuffer-depth) (lambda () 1)))
            (should (string-search "nobody was there" (imap-test-ask)))))
        (imap-test-interactively 2
          (let ((executing-kbd-macro t))
            (should (string-search "nobody was there" (imap-test-ask)))))))))

;; Security: S53.
(ert-deftest imap-test-gpg-asks-nobody ()
  "GnuPG asks by a window of its own, which is not for who is not there."
  (imap-test-with ""
    (let (modes)
      (cl-letf (((symbol-function 'auth-source-search)
                 (lambda (&rest _) (push epg-pinentry-mode modes) nil)))
        (imap-test-interactively 120 (imap-test-ask))
        (imap-test-interactively 2 (imap-test-ask))
        (should (equal modes (list (default-value 'epg-pinentry-mode)
                                   'error)))))))

(ert-deftest imap-test-resumed ()
  "Who has resumed what stopped for want of a password is asked for it, once."
  (imap-test-with ""
    (let ((asked 0) prompt (typed (copy-sequence "pässword")))
      (cl-letf (((symbol-function 'read-passwd)
                 (lambda (text &rest _)
                   (setq asked (1+ asked) prompt text)
                   typed)))
        (imap-test-interactively 2
          (should (string-search "no password" (imap-test-ask)))
          (mailsync-imap-resumed "other")
          (should (string-search "no password" (imap-test-ask)))
          (mailsync-imap-resumed "w")
          (should (equal (imap-test-ask) "p\303\244ssword"))
          (should (equal asked 1))
          (should (string-search "me at mail.example.org" prompt))
          ;; Not left lying about either.
          (should-not (equal typed "pässword"))
          (should (string-search "no password" (imap-test-ask)))
          (should (equal asked 1)))
        ;; By a program nobody is asked.
        (mailsync-imap-resumed nil)
        (should (string-search "no password" (imap-test-ask)))
        (should (equal asked 1))))))

(ert-deftest imap-test-resumed-after-mending ()
  "A password that was written down meanwhile is found, although none was known."
  (imap-test-with ""
    (cl-letf (((symbol-function 'read-passwd)
               (lambda (&rest _) (ert-fail "somebody was asked"))))
      (imap-test-interactively 2
        (should (string-search "no password" (imap-test-ask)))
        (write-region "machine mail.example.org login me password right" nil
                      file nil 'silent)
        (set-file-times file (time-add nil 5))
        (mailsync-imap-resumed nil)
        (should (equal (imap-test-ask) "right"))))))

;;;; The module, and a server that knows the password

(defmacro imap-test-with-server (password &rest body)
  "Run BODY with mailsync on for an account \"w\" at a server of ours.
PASSWORD is what ~/.authinfo, `file', has; `said' is what the user was told."
  (declare (indent 1))
  `(let* ((server (imap-test-server))
          (port (process-contact server :service))
          (netrc (lambda (password)
                   (format "machine 127.0.0.1 port %d login me password \"%s\"\n"
                           port password)))
          (file (make-temp-file "mailsync-authinfo" nil nil
                                (and ,password (funcall netrc ,password))))
          (auth-sources (list file))
          (mailsync-imap--resumed nil)
          (mailsync--said nil)
          (mailsync-log-level 'debug)
          (mailsync-inter-delay 0.1)
          (said nil)
          (mailsync-accounts
           (list (list "w" :remote (list 'imap :host "127.0.0.1" :port port
                                         :user "me" :tls 'none)))))
     (ignore netrc said)
     (auth-source-forget-all-cached)
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (unwind-protect
         (cl-letf (((symbol-function 'message)
                    (lambda (format &rest args)
                      (push (apply #'format-message format args) said))))
           (mailsync-mode 1)
           ,@body)
       (mailsync-mode -1)
       (test-wait (lambda () (zerop (mailsync-module--threads))))
       (delete-process server)
       (auth-source-forget-all-cached)
       (delete-file file))))

(defun imap-test-state ()
  "How the store is."
  (plist-get (cdar mailsync-remote--states) :state))

(defun imap-test-everything (said)
  "All text that a user may come to see; SAID is what was said."
  (concat (test-log) "\n" (string-join said "\n") "\n"
          (mailsync-status--text) "\n"
          (format "%S" (mailsync-module--status)) "\n"
          (format "%S" mailsync-remote--states)
          (mailsync-mode-line--tooltip)))

;; Security: S52.
(ert-deftest imap-test-secret-is-secret ()
  "The password reaches the server, and is nowhere to be read."
  (imap-test-with-server imap-test-password
    (test-wait (lambda () (eq (imap-test-state) 'connected)))
    (should (equal imap-test-logins
                   (list (concat "\0me\0" imap-test-password))))
    (let ((text (imap-test-everything said)))
      (should (string-search "127.0.0.1" text))
      (dolist (secret (list imap-test-password
                            (base64-encode-string
                             (concat "\0me\0" imap-test-password) t)))
        (should-not (string-search secret text))))))

(ert-deftest imap-test-wrong-password ()
  "A wrong one is tried twice, stops the store visibly, and is shown nowhere."
  (imap-test-with-server "wr0ng one"
    (test-wait (lambda () (eq (imap-test-state) 'paused)))
    (should (equal imap-test-logins '("\0me\0wr0ng one" "\0me\0wr0ng one")))
    (test-wait (lambda () (equal (mailsync-mode-line--summary) '("paused" . t))))
    (let ((text (imap-test-everything said)))
      (should (string-search "mailsync-resume" (string-join said "\n")))
      (should (string-search "not you" text))
      (should-not (string-search "wr0ng one" text))
      (should-not (string-search (base64-encode-string "\0me\0wr0ng one" t) text)))
    ;; Mended, and resumed.
    (write-region (funcall netrc imap-test-password) nil file nil 'silent)
    (set-file-times file (time-add nil 5))
    (mailsync-resume "w")
    (test-wait (lambda () (eq (imap-test-state) 'connected)))
    (should (= 3 (length imap-test-logins)))))

(ert-deftest imap-test-password-missing ()
  "Without a password it stops and says whose; once there is one it goes on."
  (imap-test-with-server nil
    (test-wait (lambda () (eq (imap-test-state) 'paused)))
    (should-not imap-test-logins)
    (should (= 1 (length said)))
    (dolist (word '("\"w\"" "no password of me at 127.0.0.1" "M-x mailsync-resume"))
      (should (string-search word (car said))))
    (should (string-search "no password of me" (mailsync-status--text)))
    (write-region (funcall netrc imap-test-password) nil file nil 'silent)
    (set-file-times file (time-add nil 5))
    (mailsync-resume)
    (test-wait (lambda () (eq (imap-test-state) 'connected)))))

(provide 'mailsync-imap-test)
;;; mailsync-imap-test.el ends here
